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
from streams.kafka.positions import Positions, lows_of
from streams.kafka.reset import OutsideTheLog, entries_of, fit, reset_to
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
    reset = reset_to(offset, standing, known, trouble_of(standing, known), {})
    assert (reset.known_offset, reset.offset) == (stood, offset)
    assert (reset.gaps, reset.repeated, reset.cursors_end) == (gaps, repeated, cursors_end)


@pytest.mark.parametrize("offset", [4, 101])
def test_an_offset_outside_the_log_is_refused(offset):
    with pytest.raises(OutsideTheLog, match=r"t\[3\]: offset \d+ is not in the log, \[5, 100\)"):
        reset_to(offset, at(ours(40), start=5), None, None, {})


def written(standing, known, offset, positions, *, intents):
    reset = reset_to(offset, standing, known, trouble_of(standing, known), lows_of(positions.cursors))
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
    assert fit(cursor, None, 0) == CursorEntry(Place(0, 0))


@pytest.mark.parametrize(
    ("low", "taken", "fitting"),
    [
        pytest.param(20, (), CursorEntry(Place(50, 0), behind=True), id="all of it gone"),
        pytest.param(50, (), None, id="nothing gone"),
        pytest.param(20, ((30, 45),), CursorEntry(Place(50, 0), behind=True), id="a run below"),
        pytest.param(
            20,
            ((30, 60), (70, 80)),
            CursorEntry(Place(60, 0), ((Place(70, 0), Place(80, 0)),), behind=True),
            id="a run across",
        ),
    ],
)
def test_an_account_whose_place_the_log_has_lost_goes_on_where_the_log_begins(low, taken, fitting):
    runs = tuple((Place(start, 0), Place(end, 0)) for start, end in taken)
    cursors = {"a": CursorEntry(Place(low, 0), runs, behind=True), "b": CursorEntry(Place(90, 1))}
    entries = written(at(ours(90), start=50), Known(90, "A"), 90, Positions(cursors=cursors), intents=False)
    lost = () if fitting is None else (Gap("A", low, 50),)
    assert entries.pop(f"reset/{AT_MS}/t/3").gaps == lost
    assert entries.pop("head") == HeadEntry("A", 90, AT_MS)
    assert entries == ({} if fitting is None else {"cursor/a": fitting})
