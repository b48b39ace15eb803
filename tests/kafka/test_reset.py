"""What an operator's decision about an offset costs, and what it writes."""

import pytest

from streams.contracts.journal import (
    CursorEntry,
    Gap,
    HeadEntry,
    JournalKey,
    Place,
    ResetEntry,
    SourceEntry,
    StartedEntry,
    decode_entry,
    encode_entry,
)
from streams.kafka.positions import Positions
from streams.kafka.reset import OutsideTheLog, cut, entries_of, reset_to
from streams.kafka.standing import Committed, Known, Standing, trouble_of

AT_MS = 1_763_780_000_000


def at(committed, *, start=0, end=100, topic_id="A"):
    return Standing("t", 3, committed, start, end, end, topic_id, 6)


def ours(offset, topic_id="A"):
    return Committed(offset, ours=True, topic_id=topic_id)


CASES = [
    pytest.param(at(None), Known(40, "A"), 40, 40, (), None, None, id="expired, to the journal"),
    pytest.param(at(None), Known(40, "A"), 0, 40, (), (0, 40), None, id="expired, from the beginning"),
    pytest.param(at(None), Known(40, "A"), 100, 40, (Gap("A", 40, 100),), None, None, id="expired, to the end"),
    pytest.param(at(ours(40), start=50), None, 50, 40, (Gap("A", 40, 50),), None, None, id="overtaken"),
    pytest.param(at(ours(40), start=50), None, 60, 40, (Gap("A", 40, 60),), None, None, id="overtaken, and further"),
    pytest.param(at(ours(120)), Known(115, "A"), 100, 120, (), None, 100, id="log was cut"),
    pytest.param(at(ours(120)), Known(115, "A"), 90, 120, (), (90, 100), 100, id="log was cut, some again"),
    pytest.param(at(Committed(60)), Known(40, "A"), 40, 40, (), None, None, id="moved, undone"),
    pytest.param(at(Committed(60)), Known(40, "A"), 60, 40, (Gap("A", 40, 60),), None, None, id="moved, meant"),
    pytest.param(at(ours(30)), Known(40, "A"), 40, 40, (), None, None, id="Kafka lost a commit"),
    pytest.param(at(None), None, 70, None, (Gap("A", 0, 70),), None, None, id="never read"),
    pytest.param(
        at(ours(40), topic_id="B"), Known(38, "A"), 0, 40, (Gap("A", 40, None),), None, 0, id="recreated, all of it"
    ),
    pytest.param(
        at(None, topic_id="B"),
        Known(38, "A"),
        9,
        38,
        (Gap("A", 38, None), Gap("B", 0, 9)),
        None,
        0,
        id="recreated, a part",
    ),
]


@pytest.mark.parametrize(("standing", "known", "offset", "stood", "gaps", "repeated", "cursors_end"), CASES)
def test_the_cost_of_a_decision(standing, known, offset, stood, gaps, repeated, cursors_end):
    reset = reset_to(offset, standing, known, trouble_of(standing, known))
    assert (reset.known_offset, reset.offset) == (stood, offset)
    assert (reset.gaps, reset.repeated, reset.cursors_end) == (gaps, repeated, cursors_end)


@pytest.mark.parametrize("offset", [4, 101])
def test_an_offset_outside_the_log_is_refused(offset):
    with pytest.raises(OutsideTheLog, match=r"t\[3\]: offset \d+ is not in the log, \[5, 100\)"):
        reset_to(offset, at(ours(40), start=5), None, None)


def written(standing, known, offset, positions, *, intents):
    reset = reset_to(offset, standing, known, trouble_of(standing, known))
    entries = dict(entries_of(reset, positions, AT_MS, intents=intents))
    for key, entry in entries.items():
        assert decode_entry(JournalKey.parse(key.encode()), encode_entry(entry)) == entry
    return entries


def test_intents_get_their_note_and_the_record():
    positions = Positions(started=StartedEntry("A", 4))
    entries = written(at(None, topic_id="B"), Known(38, "A"), 9, positions, intents=True)
    record = ResetEntry("t", 3, "B", 38, 9, (Gap("A", 38, None), Gap("B", 0, 9)), None, 0, 100, AT_MS)
    assert entries == {
        f"reset/{AT_MS}/t/3": record,
        "source/3": SourceEntry("B", 9, AT_MS),
        "started": StartedEntry("B", 4),
    }


def test_parcels_get_their_head_and_cursors_that_fit_the_log():
    cursor = CursorEntry(Place(80, 2), ((Place(90, 0), Place(95, 1)), (Place(99, 0), Place(130, 0))), behind=True)
    positions = Positions(cursors={"a": cursor})
    entries = written(at(ours(120)), Known(120, "A"), 100, positions, intents=False)
    assert entries["head"] == HeadEntry("A", 100, AT_MS)
    taken = ((Place(90, 0), Place(95, 1)), (Place(99, 0), Place(100, 0)))
    assert entries["cursor/a"] == CursorEntry(Place(80, 2), taken, behind=True)
    assert set(written(at(None), Known(40, "A"), 40, positions, intents=False)) == {"head", f"reset/{AT_MS}/t/3"}


def test_a_cursor_of_a_topic_that_is_gone_says_nothing():
    cursor = CursorEntry(Place(80, 2), ((Place(90, 0), Place(95, 1)),), behind=True)
    assert cut(cursor, Place(0, 0)) == CursorEntry(Place(0, 0))
