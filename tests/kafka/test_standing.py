"""Where reading may go on: the group's offset, the log and the journal, in every combination that matters."""

import pytest

from streams.contracts.journal import Gap
from streams.kafka.standing import (
    Committed,
    Known,
    PartitionBlocked,
    Standing,
    Trouble,
    Why,
    committed_of,
    first_start,
    mark,
    stop_at,
    trouble_of,
    trouble_of_unread,
)


def at(committed, *, start=0, end=100, topic_id="A"):
    return Standing("intents", 3, committed, start, end, end - 5, topic_id, 6)


def ours(offset, topic_id="A"):
    return Committed(offset, ours=True, topic_id=topic_id)


GOOD = [
    pytest.param(at(None), None, id="never read"),
    pytest.param(at(Committed(40)), None, id="set by an operator before the first start"),
    pytest.param(at(ours(40)), None, id="the journal was not asked"),
    pytest.param(at(ours(40)), Known(40, "A"), id="as the journal says"),
    pytest.param(at(ours(40)), Known(31, "A"), id="the journal lags behind"),
    pytest.param(at(Committed(40)), Known(40, "A"), id="set from outside to where the journal is"),
    pytest.param(at(ours(0), start=0, end=0), Known(0, "A"), id="empty log"),
    pytest.param(at(ours(100)), None, id="at the end"),
    pytest.param(at(ours(40, None)), Known(40, None), id="a broker without topic ids"),
    pytest.param(at(ours(40), topic_id=None), Known(40, "A"), id="an old broker now"),
]


@pytest.mark.parametrize(("standing", "known"), GOOD)
def test_three_witnesses_that_agree(standing, known):
    assert trouble_of(standing, known) is None


BAD = [
    pytest.param(at(None), Known(40, "A"), Why.NO_OFFSET, Gap("A", 40, 100), "60 offsets [40, 100)", id="expired"),
    pytest.param(at(ours(40), start=50), None, Why.BELOW_START, Gap("A", 40, 50), "10 offsets [40, 50)", id="below"),
    pytest.param(at(ours(120)), None, Why.BEYOND_END, Gap("A", 100, 120), "20 offsets [100, 120)", id="beyond"),
    pytest.param(
        at(ours(40), topic_id="B"), None, Why.RECREATED, Gap("A", 40, None), "id was A, now it is B", id="recreated"
    ),
    pytest.param(
        at(None, topic_id="B"), Known(7, "A"), Why.RECREATED, Gap("A", 7, None), "offset 7", id="recreated, no offset"
    ),
    pytest.param(
        at(Committed(60)), Known(40, "A"), Why.MOVED, Gap("A", 40, 60), "20 offsets [40, 60) would not be read", id="on"
    ),
    pytest.param(
        at(Committed(0)), Known(40, "A"), Why.MOVED, Gap("A", 0, 40), "[0, 40) would be read again", id="set back"
    ),
    pytest.param(
        at(ours(30)), Known(40, "A"), Why.MOVED, Gap("A", 30, 40), "Kafka has set it back", id="Kafka lost a commit"
    ),
]


@pytest.mark.parametrize(("standing", "known", "why", "gap", "words"), BAD)
def test_a_contradiction_is_named_with_its_offsets(standing, known, why, gap, words):
    trouble = trouble_of(standing, known)
    assert isinstance(trouble, Trouble)
    assert (trouble.why, trouble.gap) == (why, gap)
    assert words in trouble.text
    assert trouble.text.startswith("intents[3]: ")


@pytest.mark.parametrize(
    ("metadata", "committed"),
    [
        pytest.param(mark("A"), ours(5), id="ours"),
        pytest.param(mark(None), ours(5, None), id="ours, no topic id"),
        pytest.param("", Committed(5), id="somebody else"),
        pytest.param(None, Committed(5), id="none"),
        pytest.param("callstream/2 A", Committed(5), id="a mark we do not know"),
    ],
)
def test_our_offsets_carry_a_mark(metadata, committed):
    assert committed_of(5, metadata) == committed
    assert committed_of(-1001, metadata) is None


def test_a_first_start_is_where_the_settings_say_or_where_the_group_was_set():
    assert first_start(at(None, start=7), "earliest") == 7
    assert first_start(at(None), "latest") == 95, "what open transactions hold is still to come"
    assert first_start(at(Committed(40)), "latest") == 40


def test_what_must_be_read_from_zero_is_read_from_zero_or_not_at_all():
    assert trouble_of_unread(at(None)) is None
    assert trouble_of_unread(at(ours(40), start=3)) is None
    with pytest.raises(PartitionBlocked, match=r"3 offsets \[0, 3\) are gone"):
        stop_at(trouble_of_unread(at(None, start=3)))
