"""Who is read live, who is passed over, who is recalled, and who is behind: with lanes of three intents at most."""

import pytest

from streams.contracts.journal import CursorEntry, Place
from streams.lane.actions import Write
from streams.lane.cursor import Cursor
from streams.lane.lane import Lane
from streams.lane.reading import Patience, Reading, Room
from tests.lane.making import ACCOUNT, START, after, entry, new_lane, parcel, row


def lane_in(reading: Reading, **options: int) -> Lane:
    lane = new_lane(**{"intents_max": 3, **options})
    reading.adopt(lane)
    return lane


def read(reading: Reading, lane: Lane, offset: int, count: int = 1, now=START) -> Write | None:
    """Read a parcel live, as the worker does; returns what is to be written if the lane is passed over."""
    write = None
    if lane.mark is None:
        if reading.full(lane):
            write = reading.pass_over(lane, offset)
            reading.written(lane, write)
        else:
            reading.offer(lane, offset, parcel([row(100 * offset + n) for n in range(count)]), now)
    reading.offset.read_to(offset + 1)
    return write


def leave(reading: Reading, lane: Lane, count: int = 3) -> None:
    """So many intents leave the lane."""
    held = lane.window.take(count, START.wall_ms)
    lane.window.settled(held)
    write = Write()
    lane.take(held, write)
    reading.written(lane, write)
    reading.recall_from()


def recall(reading: Reading, start: int, end: int, lane: Lane, offsets: list[int]) -> list[int]:
    """Read ``[start, end)`` again, where the lane has parcels at these offsets; returns those it took."""
    taken = []
    for offset in offsets:
        if reading.wants(lane, offset, start):
            reading.recall(lane, offset, parcel([row(100 * offset)]), START)
            taken.append(offset)
    reading.recalled_to(start, end)
    return taken


def reading_from(start: int = 10, intents_max: int = 100, **patience: int) -> Reading:
    return Reading(start, Room(intents_max), Patience(**patience))


def test_a_lane_that_is_passed_over_is_behind_before_the_offset_passes_it():
    reading = reading_from()
    lane = lane_in(reading)
    assert read(reading, lane, 10, 3) is None
    write = read(reading, lane, 11)
    assert write is not None
    assert entry(write, f"cursor/{ACCOUNT}") == CursorEntry(Place(10, 0), (), behind=True)
    assert reading.offset.committable() == 12
    assert lane.mark == 11


def test_a_lane_that_never_took_anything_has_its_low_where_it_was_passed_over():
    reading = reading_from(intents_max=4)
    crowd, lane = lane_in(reading, intents_max=100), lane_in(reading)
    read(reading, crowd, 10, 40)
    # However full the others are, a lane without intents is given a little.
    assert read(reading, lane, 11) is None
    leave(reading, lane)
    read(reading, lane, 12, 1)
    write = reading.pass_over(lane, 13)
    assert entry(write, f"cursor/{ACCOUNT}") == CursorEntry(Place(12, 0), (), behind=True)


def test_what_was_passed_over_is_ignored_until_recall_reaches_the_live_position():
    reading = reading_from()
    lane = lane_in(reading)
    read(reading, lane, 10, 3)
    read(reading, lane, 11)
    read(reading, lane, 12)
    assert len(lane.window) == 3
    assert reading.recall_from() is None
    leave(reading, lane)
    assert reading.recall_from() == 11
    assert recall(reading, 11, 12, lane, [11]) == [11]
    assert (lane.mark, reading.recall_from()) == (12, 12)
    assert recall(reading, 12, 13, lane, [12]) == [12]
    assert lane.mark is None
    assert reading.recall_from() is None
    assert read(reading, lane, 13) is None
    assert len(lane.window) == 3


def test_recall_stops_where_a_lane_is_full_and_goes_on_there():
    reading = reading_from()
    lane = lane_in(reading)
    read(reading, lane, 10, 3)
    for offset in range(11, 20):
        read(reading, lane, offset)
    leave(reading, lane)
    assert recall(reading, 11, 20, lane, list(range(11, 20))) == [11, 12, 13]
    assert lane.mark == 14
    leave(reading, lane, 1)
    assert reading.recall_from() == 14, "two of three is below four fifths"


@pytest.mark.parametrize("same_pair", [False, True], ids=["another pair", "one pair"])
def test_what_a_full_lane_has_not_read_has_its_turn_in_the_order_of_the_topic(same_pair):
    """An urgent intent is not fetched from behind what is unread: a predecessor of its pair may be in there."""
    reading = reading_from()
    lane = lane_in(reading)
    read(reading, lane, 10, 3)
    receivers = ["92900", "92901", "92902", "92903", "92900" if same_pair else "92904"]
    unread = {11 + index: row(1100 + index, receiver=receiver) for index, receiver in enumerate(receivers)}
    unread[15] = unread[15]._replace(priority="high", starts_at=START.wall_ms)
    for offset in unread:
        read(reading, lane, offset)
    assert len(lane.window) == 3, "high ones are passed over, too"
    left = []
    while lane.mark is not None:
        leave(reading, lane)
        mark = lane.mark
        for offset, one in unread.items():
            if reading.wants(lane, offset, mark):
                reading.recall(lane, offset, parcel([one]), START)
                left.append(offset)
        reading.recalled_to(mark, 16)
    assert left == [11, 12, 13, 14, 15]
    assert [one.row.priority for one in lane.window.take(3, START.wall_ms)] == ["high", "normal"]


def test_only_a_reader_without_a_gap_from_the_mark_may_offer():
    reading = reading_from()
    lane = lane_in(reading)
    read(reading, lane, 10, 3)
    for offset in range(11, 20):
        read(reading, lane, offset)
    leave(reading, lane)
    # Somebody else's place was read in the meantime.
    assert recall(reading, 15, 20, lane, [15, 16]) == []
    assert lane.mark == 11


def test_lanes_with_room_share_a_reader_which_starts_at_the_lowest_mark():
    reading = reading_from(start=0)
    first, second = lane_in(reading), lane_in(reading)
    read(reading, first, 0, 3)
    read(reading, second, 1, 3)
    read(reading, first, 2)
    read(reading, second, 3)
    leave(reading, second)
    assert reading.recall_from() == 3
    leave(reading, first)
    assert reading.recall_from() == 2
    assert recall(reading, 2, 4, first, [2]) == [2]
    assert reading.recall_lag() == 0, "the other one's mark moved on with the reader, over parcels that it did not want"


def test_a_lane_that_is_behind_and_read_live_catches_up_when_nothing_lies_below_the_offset():
    reading = reading_from()
    lane, other = lane_in(reading), lane_in(reading)
    read(reading, lane, 10, 3)
    read(reading, lane, 11)
    reading.offset.read_to(12)
    submitted = reading.offset.committable()
    assert submitted == 12
    assert not reading.caught_up(lane, submitted)
    leave(reading, lane)
    recall(reading, 11, 12, lane, [11])
    assert not reading.caught_up(lane, submitted), "the parcel at 11 waits"
    leave(reading, lane)
    assert reading.caught_up(lane, submitted)
    assert entry(reading.catch_up(lane, START), f"cursor/{ACCOUNT}") == CursorEntry(Place(12, 0))
    assert not reading.behind
    read(reading, lane, 12)
    read(reading, other, 13)
    assert reading.offset.committable() == 12


def test_a_lane_that_catches_up_with_intents_waiting_holds_the_offset_again():
    reading = reading_from(seconds=10)
    lane, other = lane_in(reading), lane_in(reading)
    read(reading, other, 10)
    read(reading, lane, 11)
    reading.fall_behind(lane)
    assert reading.offset.committable() == 10
    assert reading.caught_up(lane, submitted_offset=10)
    reading.catch_up(lane, START)
    leave(reading, other)
    assert reading.offset.committable() == 11


@pytest.mark.parametrize(
    ("patience", "seconds", "offset", "late"),
    [
        pytest.param({"seconds": 60}, 59.0, 12, False, id="a minute is not over"),
        pytest.param({"seconds": 60}, 60.0, 12, True, id="a minute"),
        pytest.param({"offsets": 100}, 1.0, 108, False, id="not so many offsets"),
        pytest.param({"offsets": 100}, 1.0, 109, True, id="many offsets"),
    ],
)
def test_who_holds_the_offset_for_too_long_falls_behind(patience, seconds, offset, late):
    reading = reading_from(**patience)
    lane, other = lane_in(reading), lane_in(reading)
    read(reading, lane, 10)
    read(reading, other, 11, now=after(seconds))
    reading.offset.read_to(offset + 1)
    assert reading.lagging(after(seconds)) is (lane if late else None)
    if late:
        write = reading.fall_behind(lane)
        assert entry(write, f"cursor/{ACCOUNT}") == CursorEntry(Place(10, 0), (), behind=True)
        assert lane.mark is None
        assert reading.offset.committable() == 11
        assert not reading.fall_behind(lane).entries, "once"


@pytest.mark.parametrize(
    ("low", "mark"),
    [
        pytest.param(Place(4, 2), 4, id="below the offset: recalled"),
        pytest.param(Place(10, 0), None, id="at the offset: live"),
        pytest.param(Place(14, 0), None, id="beyond: live, what is taken is dropped"),
    ],
)
def test_a_lane_that_was_behind_is_read_from_its_low_end(low, mark):
    reading = reading_from(start=10)
    lane = lane_in(reading)
    lane.cursor = Cursor(CursorEntry(low, behind=True))
    reading.resume(lane)
    assert lane.mark == mark
    assert reading.recall_from() == mark
    assert list(reading.behind) == [lane]


def test_a_few_full_lanes_leave_room_for_the_others():
    reading = reading_from(start=0, intents_max=100)
    lanes = [lane_in(reading, intents_max=1000) for _ in range(5)]
    offset = 0
    for lane in lanes[:4]:
        while lane.mark is None:
            read(reading, lane, offset)
            offset += 1
    assert [len(lane.window) for lane in lanes] == [50, 25, 13, 6, 0]
    assert read(reading, lanes[4], offset) is None
    assert reading.room.held == 95
    reading.leave()
    assert (reading.room.held, reading.room.lanes) == (0, 0)


def test_how_it_stands():
    reading = reading_from(start=0)
    lane = lane_in(reading)
    recorded_at = START.wall_ms - 90_000
    reading.offer(lane, 0, parcel([row(n, recorded_at=recorded_at) for n in range(3)]), START)
    assert (reading.recall_lag(), reading.behind_s(START)) == (0, 0.0)
    read(reading, lane, 1)
    reading.offset.read_to(100)
    assert (reading.recall_lag(), reading.behind_s(START)) == (99, 90.0)
