import random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from streams.lane.correlate import Match, correlate
from streams.lane.verdict import RecordState
from tests.lane.making import START, held, record

DELIVERED, FAILED, PENDING = RecordState.DELIVERED, RecordState.FAILED, RecordState.PENDING


def at(minute):
    return {"starts_at": START.wall_ms + minute * 60_000, "ends_at": START.wall_ms + (minute + 5) * 60_000}


def matches(correlation):
    return [told.match.name for told in correlation.told]


def test_records_are_matched_in_any_order():
    intents = [held(number) for number in range(5)]
    records = [record(one.row, FAILED if one.place.index == 3 else DELIVERED) for one in reversed(intents)]
    correlation = correlate(intents, records)
    assert [told.record.record_id for told in correlation.told if told.record] == [f"record-{n}" for n in range(5)]
    assert [told.record.state for told in correlation.told if told.record] == [
        DELIVERED,
        DELIVERED,
        DELIVERED,
        FAILED,
        DELIVERED,
    ]
    assert correlation.complete
    assert all(told.alone for told in correlation.told)
    assert correlation.strangers == 0


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param([DELIVERED, DELIVERED], ["FINAL", "FINAL"], id="alike and agreed"),
        pytest.param([DELIVERED, FAILED], ["INDISTINGUISHABLE"] * 2, id="alike and at odds"),
        pytest.param([DELIVERED, PENDING], ["PENDING"] * 2, id="alike, one not done"),
        pytest.param([DELIVERED], ["PENDING"] * 2, id="alike, one not listed"),
        pytest.param([], ["PENDING"] * 2, id="none listed"),
        pytest.param([DELIVERED, DELIVERED, DELIVERED], ["FINAL", "FINAL"], id="one more than sent, agreed"),
        pytest.param([DELIVERED, DELIVERED, FAILED], ["INDISTINGUISHABLE"] * 2, id="one more than sent, at odds"),
    ],
)
@pytest.mark.faults("B76", "F80")
def test_intents_that_look_alike(states, expected):
    intents = [held(0, **at(1)), held(1, **at(1))]
    records = [record(intents[index % 2].row, state, masked=True) for index, state in enumerate(states)]
    correlation = correlate(intents, records)
    assert matches(correlation) == expected
    assert not any(told.alone for told in correlation.told if told.match is Match.FINAL)


@pytest.mark.faults("B75")
def test_masked_records_are_told_apart_by_their_times():
    intents = [held(number, **at(number)) for number in range(3)]
    records = [record(one.row, FAILED if one.place.index == 1 else DELIVERED, masked=True) for one in intents]
    correlation = correlate(intents, records)
    assert matches(correlation) == ["FINAL"] * 3
    assert [told.record.state for told in correlation.told if told.record] == [DELIVERED, FAILED, DELIVERED]


def test_one_masked_record_masks_the_field_for_all():
    intents = [held(0, **at(1)), held(1, **at(2))]
    records = [record(intents[0].row), record(intents[1].row, masked=True)]
    assert matches(correlate(intents, records)) == ["FINAL", "FINAL"]


@pytest.mark.faults("B75")
def test_an_answer_that_echoes_nothing_tells_only_what_holds_for_all():
    intents = [held(0), held(1)]
    nothing: dict[str, Any] = {"label_id": None, "starts_at": None, "ends_at": None}
    same = [record(one.row, masked=True, **nothing) for one in intents]
    assert matches(correlate(intents, same)) == ["FINAL", "FINAL"]
    mixed = [same[0], record(intents[1].row, FAILED, masked=True, **nothing)]
    assert matches(correlate(intents, mixed)) == ["INDISTINGUISHABLE"] * 2


@pytest.mark.faults("F80")
def test_strangers_are_counted_and_change_nothing():
    intents = [held(0)]
    correlation = correlate(intents, [record(intents[0].row), record(held(7).row), record(held(8).row)])
    assert correlation.strangers == 2
    assert correlation.complete


@pytest.mark.faults("B75")
def test_an_empty_answer_leaves_all_pending():
    correlation = correlate([held(0), held(1)], [])
    assert matches(correlation) == ["PENDING", "PENDING"]
    assert not correlation.complete


@settings(max_examples=150, deadline=None)
@given(
    fates=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(list(RecordState))), min_size=1, max_size=12),
    masked=st.booleans(),
    missing=st.integers(0, 3),
    strangers=st.integers(0, 2),
    seed=st.integers(0, 1000),
)
@pytest.mark.faults("B75", "F80")
def test_nobody_gets_the_fate_of_another(fates, masked, missing, strangers, seed):
    intents = [held(number, **at(minute)) for number, (minute, _) in enumerate(fates)]
    records = [record(one.row, state, masked=masked) for one, (_, state) in zip(intents, fates, strict=True)]
    random.Random(seed).shuffle(records)
    listed = records[missing:] + [record(held(100 + n).row, masked=masked, **at(90)) for n in range(strangers)]
    correlation = correlate(intents, listed)
    for told, (_, state) in zip(correlation.told, fates, strict=True):
        if told.match is Match.FINAL:
            assert told.record is not None
            assert told.record.state is state
    if not missing:
        assert correlation.strangers == strangers
        assert correlation.complete == all(state is not PENDING for _, state in fates)
