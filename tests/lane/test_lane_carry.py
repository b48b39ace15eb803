"""Waiting intents that are carried in the journal, so that the cursor of their account stays small."""

import pytest

from streams.contracts.errors import UnreadableMessage
from streams.contracts.journal import CursorEntry, Packer, Place, encode_entry
from streams.lane.actions import Write
from streams.lane.carry import Carry
from streams.lane.cursor import ENTRY_BYTES_MAX
from streams.lane.recovery import AccountState, restore
from tests.lane.making import ACCOUNT, MINUTE_MS, START, Driven, after, entry, held, minted_lane, new_lane, parcel, row

HOUR_MS = 60 * MINUTE_MS


def every_second_expires(count: int):
    """Intents of which every second one is over in half a minute, and the others in hours, each a little later."""
    soon = START.wall_ms + 2 * MINUTE_MS
    return [
        row(n, starts_at=START.wall_ms, ends_at=soon if n % 2 else START.wall_ms + HOUR_MS + n) for n in range(count)
    ]


def ragged(count: int = 40, **options: int) -> Driven:
    """A lane without a token, half of whose intents have expired."""
    driven = Driven(new_lane(**{"cursor_runs_max": 4, "carry_records_max": 3, **options}))
    driven.offer(every_second_expires(count))
    driven.step()
    driven.step(2 * 60.0)
    return driven


def cursor_of(driven: Driven) -> CursorEntry:
    (found,) = [entry(write, f"cursor/{ACCOUNT}") for write in driven.writes[-1:]]
    assert isinstance(found, CursorEntry)
    return found


def carried(driven: Driven) -> dict[str, list[Place]]:
    records = {key: value for key, value in driven.journal.items() if key.startswith("carry/")}
    return {key: [one.place for one in Packer().unpack(value)] for key, value in records.items() if value}


def test_what_waits_at_the_low_end_is_carried_when_the_cursor_would_be_too_long():
    driven = ragged()
    cursor = cursor_of(driven)
    assert len(cursor.taken) <= 4
    assert cursor.low == Place(0, 36)
    assert sorted(place.index for places in carried(driven).values() for place in places) == list(range(0, 36, 2))
    assert max(map(len, carried(driven).values())) == 3
    # All in one write: at no moment is an intent in two places, or in none.
    assert len([write for write in driven.writes if any(key.startswith("carry/") for key, _ in write.entries)]) == 1
    assert sorted(driven.writes[-1].taken) == sorted({Place(0, n) for n in range(40)} - {Place(0, 36), Place(0, 38)})
    assert len(driven.lane.window) == 20, "they go on waiting"


def test_a_cursor_that_is_short_carries_nothing():
    assert not carried(ragged(count=8))


def test_a_cursor_has_a_bound_in_bytes():
    driven = Driven(new_lane())
    driven.offer(every_second_expires(7000), offset=10**12)
    driven.step()
    driven.step(2 * 60.0)
    assert len(cursor_of(driven).taken) < 3500
    assert len(encode_entry(cursor_of(driven))) <= ENTRY_BYTES_MAX
    assert carried(driven)


def test_a_successor_finds_what_was_carried_in_order_and_sends_it_once():
    driven = ragged()
    successor = driven.taken_over(after(121.0), minted_lane(cursor_runs_max=4, carry_records_max=3))
    assert len(successor.lane.window) == 18
    # The rest of the parcel is read again.
    assert successor.lane.offer(0, parcel(every_second_expires(40)), successor.now) == 2
    post = successor.post(1.0)
    assert [one.row.source_offset for one in post.held] == list(range(0, 40, 2))
    journal = driven.journal | successor.journal
    assert not [key for key, value in journal.items() if key.startswith("carry/") and value is not None]


def test_a_record_is_written_anew_without_those_that_left():
    carry = Carry(ACCOUNT, Packer(), 10)
    intents = [held(n) for n in range(4)]
    list(carry.add(intents))
    ((key, value),), others = carry.take([intents[1], held(7), intents[2]])
    assert value is not None
    assert key == f"carry/{ACCOUNT}/0"
    assert Packer().unpack(value) == [intents[0], intents[3]]
    assert others == [held(7)]
    (forgotten,), _ = carry.take([intents[0], intents[3]])
    assert forgotten == (key, None)
    assert not carry


def test_records_hold_what_ends_at_about_the_same_time():
    carry = Carry(ACCOUNT, Packer(), 2)
    ends = [START.wall_ms + minutes * MINUTE_MS for minutes in (40, 10, 30, 20)]
    entries = list(carry.add([held(n, ends_at=end) for n, end in enumerate(ends)]))
    assert [[one.place.index for one in Packer().unpack(value)] for _, value in entries if value] == [[1, 3], [2, 0]]


def test_numbers_of_records_go_on_after_a_restart():
    carry = Carry(ACCOUNT, Packer(), 10)
    carry.restore(4, [held(1)])
    ((key, _),) = carry.add([held(2)])
    assert key == f"carry/{ACCOUNT}/5"


def test_what_was_carried_is_hastened_when_the_account_heals():
    driven = Driven(minted_lane(records_max=2, carry_records_max=2))
    late = START.wall_ms + HOUR_MS
    driven.offer([row(n, starts_at=late, ends_at=late + HOUR_MS) for n in range(2)])
    driven.offer([row(n) for n in range(10, 14)], offset=1)
    write = Write()
    driven.lane._carry_below(Place(1, 0), write)
    driven.wrote(write)
    assert carried(driven)
    assert {one.row.source_offset for one in driven.post(1.0).held} == {0, 1}
    assert not carried(driven)


def test_a_carry_that_is_damaged_is_refused():
    with pytest.raises(UnreadableMessage):
        restore(new_lane(), AccountState(carries={0: b"x"}), START)


def test_an_intent_waits_for_a_predecessor_that_is_carried():
    driven = Driven(new_lane(cursor_runs_max=0, carry_records_max=3))
    driven.offer([row(0, receiver="same"), *every_second_expires(4)[1:], row(9, receiver="same")])
    driven.lane.journal_cursor(Write())
    driven.step()
    driven.step(2 * 60.0)
    assert carried(driven)
    successor = driven.taken_over(after(121.0), minted_lane(cursor_runs_max=0, carry_records_max=3))
    successor.offer([row(10, receiver="same")], offset=1)
    sent = [one.row.source_offset for one in successor.post(1.0).held]
    assert 0 in sent
    assert 10 not in sent
