import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from streams.lane.offsets import PartitionOffset

NOW_S = 1000.0


@settings(max_examples=200, deadline=None)
@given(
    parcels=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4), st.sampled_from("ab")), max_size=12),
    data=st.data(),
    start=st.integers(0, 5),
)
def test_the_offset_is_the_first_parcel_with_an_untaken_intent(parcels, data, start):
    tracked: PartitionOffset[str] = PartitionOffset(start)
    untaken: dict[int, int] = {}
    account_of: dict[int, str] = {}
    passed_over: set[str] = set()
    position = start
    committed = start
    for gap, rows, account in parcels:
        offset = position + gap - 1
        position = offset + 1
        if account not in passed_over:
            tracked.handed(offset, rows, account, NOW_S)
        untaken[offset], account_of[offset] = rows, account
        tracked.read_to(position)
        held = {at: left for at, left in untaken.items() if left and account_of[at] not in passed_over}
        if held and data.draw(st.booleans()):
            chosen = data.draw(st.sampled_from(sorted(held)))
            count = data.draw(st.integers(1, held[chosen]))
            tracked.taken(chosen, count)
            untaken[chosen] -= count
        if data.draw(st.booleans()):
            chosen = data.draw(st.sampled_from("ab"))
            mine = {at: left for at, left in untaken.items() if left and account_of[at] == chosen}
            if chosen not in passed_over:
                tracked.pass_over(mine)
                passed_over.add(chosen)
            elif min(mine, default=position) >= committed:
                tracked.hold_again(chosen, mine.items(), NOW_S)
                passed_over.remove(chosen)
        expected = min(
            (at for at, left in untaken.items() if left and account_of[at] not in passed_over), default=position
        )
        assert tracked.committable() == expected
        assert expected >= committed, "an offset never goes back"
        committed = expected
        oldest = tracked.oldest()
        assert (oldest.account if oldest else None) == account_of.get(expected if expected < position else -1)


def tracked_from(start: int) -> PartitionOffset[str]:
    return PartitionOffset(start)


def test_a_parcel_without_untaken_intents_holds_nothing():
    tracked = tracked_from(7)
    tracked.handed(7, 0, "a", NOW_S)
    tracked.read_to(8)
    assert tracked.committable() == 8


def test_what_is_being_handed_over_holds_before_the_position_moves():
    tracked = tracked_from(7)
    tracked.handed(9, 2, "a", NOW_S)
    tracked.taken(9, 2)
    assert tracked.committable() == 9, "the rest of the chunk has not reached its lanes"


def test_no_intent_is_taken_twice():
    tracked = tracked_from(0)
    tracked.handed(0, 1, "a", NOW_S)
    with pytest.raises(AssertionError):
        tracked.taken(0, 2)


def test_asked_in_the_middle_of_a_chunk_the_offset_does_not_go_back_either():
    tracked: PartitionOffset[str] = PartitionOffset(0)
    tracked.handed(2, 4, "a", NOW_S)
    assert tracked.committable() == 2
    tracked.pass_over([2])
    assert tracked.committable() == 2
