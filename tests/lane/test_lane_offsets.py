import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from streams.lane.offsets import PartitionOffset


@settings(max_examples=150, deadline=None)
@given(
    parcels=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4)), max_size=12),
    data=st.data(),
    start=st.integers(0, 5),
)
def test_the_offset_is_the_first_parcel_with_an_untaken_intent(parcels, data, start):
    tracked = PartitionOffset(start)
    untaken: dict[int, int] = {}
    position = start
    committed = start
    for gap, rows in parcels:
        offset = position + gap - 1
        position = offset + 1
        tracked.handed(offset, rows)
        untaken[offset] = rows
        tracked.read_to(position)
        open_offsets = [offset for offset, left in untaken.items() if left]
        if open_offsets and data.draw(st.booleans()):
            chosen = data.draw(st.sampled_from(open_offsets))
            count = data.draw(st.integers(1, untaken[chosen]))
            tracked.taken(chosen, count)
            untaken[chosen] -= count
        expected = min((offset for offset, left in untaken.items() if left), default=position)
        assert tracked.committable() == expected
        assert expected >= committed, "an offset never goes back"
        committed = expected


def test_a_parcel_without_untaken_intents_holds_nothing():
    tracked = PartitionOffset(7)
    tracked.handed(7, 0)
    tracked.read_to(8)
    assert tracked.committable() == 8


def test_what_is_being_handed_over_holds_before_the_position_moves():
    tracked = PartitionOffset(7)
    tracked.handed(9, 2)
    tracked.taken(9, 2)
    assert tracked.committable() == 7, "the rest of the chunk has not reached its lanes"


def test_no_intent_is_taken_twice():
    tracked = PartitionOffset(0)
    tracked.handed(0, 1)
    with pytest.raises(AssertionError):
        tracked.taken(0, 2)
