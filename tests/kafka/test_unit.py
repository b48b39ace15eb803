"""The queue of units: whole units, in order, within bounds, with an offset for every lease."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.lease import Lease
from streams.kafka.message import OutMessage
from streams.kafka.unit import MESSAGE_OVERHEAD_BYTES, Unit, UnitQueue, offsets_of


def a_lease(partition=0, start_offset=0):
    return Lease("intents", partition, partition, start_offset, 0.0)


def a_queue() -> UnitQueue[None]:
    return UnitQueue()


def a_unit(lease, next_offset=None, messages=1, value=b"", waiter=None):
    return Unit(lease, [OutMessage("out", value)] * messages, next_offset, waiter)


def test_a_unit_weighs_its_values_and_a_share_for_each_message():
    unit = Unit(a_lease(), [OutMessage("out", b"12345"), OutMessage("out", None)], None, None)
    assert unit.size_bytes == 5 + 2 * MESSAGE_OVERHEAD_BYTES


def test_an_unchanged_offset_is_the_last_one_queued_for_the_lease():
    queue, lease = a_queue(), a_lease(start_offset=40)
    units = [a_unit(lease), a_unit(lease, 50), a_unit(lease), a_unit(lease, 50)]
    for unit in units:
        queue.put(unit)
    assert [unit.offset for unit in units] == [40, 50, 50, 50]
    assert offsets_of(queue.take(1, 10**6)) == {lease: 40}
    assert offsets_of(queue.take(3, 10**6)) == {lease: 50}


@pytest.mark.parametrize("next_offset", [39, 49], ids=["before the lease", "before the last"])
def test_an_offset_never_moves_back(next_offset):
    queue, lease = a_queue(), a_lease(start_offset=40)
    if next_offset > 40:
        queue.put(a_unit(lease, 50))
    with pytest.raises(ValueError, match="lies before"):
        queue.put(a_unit(lease, next_offset))


def test_a_unit_beyond_the_bounds_goes_alone():
    queue, lease = a_queue(), a_lease()
    large, small = a_unit(lease, 1, messages=50), a_unit(lease, 2)
    queue.put(large)
    queue.put(small)
    assert queue.take(10, 10**6) == [large]
    assert queue.take(10, 10**6) == [small]


def test_a_lease_whose_unit_did_not_fit_comes_first_the_next_time():
    queue, busy, waiting = a_queue(), a_lease(0), a_lease(1)
    for offset in range(1, 40):
        queue.put(a_unit(busy, offset, messages=3))
    large = a_unit(waiting, 1, messages=9)
    queue.put(large)
    assert large not in queue.take(10, 10**6)
    assert queue.take(10, 10**6)[0] is large


def test_units_of_lost_leases_are_dropped_and_the_others_stay():
    queue, lost, kept = a_queue(), a_lease(0), a_lease(1)
    gone, stays = a_unit(lost, 5, messages=2), a_unit(kept, 7)
    queue.put(gone)
    queue.put(stays)
    lost.lost = True
    assert queue.drop_lost() == [gone]
    assert queue.drop_lost() == []
    assert (queue.units, queue.size_bytes) == (1, stays.size_bytes)
    assert queue.take(10, 10**6) == [stays]
    assert not queue


def test_a_partition_that_comes_back_starts_anew():
    queue, before = a_queue(), a_lease(0)
    queue.put(a_unit(before, 90))
    before.lost = True
    queue.drop_lost()
    again = a_lease(0, start_offset=30)
    queue.put(a_unit(again, 31))
    assert offsets_of(queue.take(10, 10**6)) == {again: 31}


def test_taken_units_count_until_they_are_settled():
    queue, lease = a_queue(), a_lease()
    queue.put(a_unit(lease, 1, value=b"x"))
    taken = queue.take(10, 10**6)
    assert not queue
    assert (queue.units, queue.size_bytes) == (1, 1 + MESSAGE_OVERHEAD_BYTES)
    queue.settle(taken)
    assert (queue.units, queue.size_bytes) == (0, 0)
    queue.put(a_unit(lease, 2))
    assert len(queue.drop_all()) == 1
    assert (queue.units, queue.size_bytes) == (0, 0)


submissions = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 12), st.one_of(st.none(), st.integers(0, 5)), st.integers(0, 300)),
    max_size=40,
)


@given(
    submissions, st.lists(st.integers(0, 3), max_size=2), st.integers(1, 10), st.integers(1, 3000), st.integers(0, 9)
)
def test_every_history_keeps_order_bounds_and_offsets(submitted, losing, messages_max, bytes_max, losing_after):
    queue = a_queue()
    leases = [a_lease(partition, start_offset=100) for partition in range(4)]
    head = [100] * 4
    queued = defaultdict(list)
    for partition, messages, step, size in submitted:
        if step is not None:
            head[partition] += step
        unit = a_unit(leases[partition], None if step is None else head[partition], messages, b"x" * size)
        queue.put(unit)
        assert unit.offset == head[partition]
        queued[leases[partition]].append(unit)
    taken, dropped, transactions = defaultdict(list), [], 0
    while queue:
        if transactions == losing_after:
            for partition in losing:
                leases[partition].lost = True
            dropped = queue.drop_lost()
        units = queue.take(messages_max, bytes_max)
        assert units or not queue
        total = sum(len(unit.messages) for unit in units), sum(unit.size_bytes for unit in units)
        assert len(units) <= 1 or (total[0] <= messages_max and total[1] <= bytes_max)
        for unit in units:
            taken[unit.lease].append(unit)
        assert offsets_of(units) == {unit.lease: taken[unit.lease][-1].offset for unit in units}
        queue.settle(units)
        transactions += 1
    for lease in leases:
        left = [unit for unit in dropped if unit.lease is lease]
        assert taken[lease] + left == queued[lease]
        assert not left or lease.lost
    assert (queue.units, queue.size_bytes) == (0, 0)
