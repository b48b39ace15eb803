"""A partition and its lanes: what was handed over, what is taken, and the offset that follows."""

from streams.contracts.journal import Place
from streams.lane.instant import Instant
from streams.worker.owned import OwnedPartition
from tests.worker.parts import ACCOUNT, OTHER_ACCOUNT, chunk_of, lease, new_lane, parcel, row
from tests.worker.virtual import START_MS, START_S

NOW = Instant(START_MS, START_S)


def owned(start=10):
    return OwnedPartition(lease(start=start), new_lane)


def no_command(owned, command, offset):
    raise AssertionError("there is none")


def take(partition, *parcels, start=10):
    return list(partition.take(chunk_of(partition.lease, start, *parcels), NOW, no_command))


def test_each_parcel_goes_to_the_lane_of_its_account():
    partition = owned()
    touched = take(partition, parcel(row(0), row(1)), parcel(row(2), account=OTHER_ACCOUNT))
    assert [(lane.account_id, len(lane.lane.window)) for lane in touched] == [(ACCOUNT, 2), (OTHER_ACCOUNT, 1)]
    assert partition.intents == 3


def test_the_offset_stays_before_the_first_parcel_with_an_untaken_intent():
    partition = owned()
    take(partition, parcel(row(0), row(1)), parcel(row(2), account=OTHER_ACCOUNT), parcel(row(3)))
    assert partition.offset.committable() == 10
    partition.taken([Place(11, 0)])
    assert partition.offset.committable() == 10
    partition.taken([Place(10, 0), Place(10, 1)])
    assert partition.offset.committable() == 12
    partition.taken([Place(12, 0)])
    assert partition.offset.committable() == 13
    assert partition.intents == 0


def test_an_account_without_intents_holds_nothing_up():
    partition = owned()
    take(partition, parcel(row(0)))
    partition.taken([Place(10, 0)])
    take(partition, parcel(account=OTHER_ACCOUNT), start=11)
    assert partition.offset.committable() == 12


def test_a_chunk_without_messages_moves_the_offset():
    partition = owned()
    assert partition.offset.committable() == 10
    chunk = chunk_of(partition.lease, 10)
    assert not list(partition.take(chunk.__class__(chunk.lease, [], 10, 14), NOW, no_command))
    assert partition.offset.committable() == 14
