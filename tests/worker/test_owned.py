"""A partition and its lanes: what was handed over, what is taken, and the offset that follows."""

from confluent_kafka import Message

from streams.contracts.journal import Place
from streams.contracts.parcel import encode_parcels
from streams.kafka.recall import Recalled
from streams.lane.actions import Write
from streams.lane.instant import Instant
from streams.lane.reading import Room
from streams.worker.owned import OwnedPartition
from tests.worker.parts import ACCOUNT, OTHER_ACCOUNT, chunk_of, lease, new_lane, parcel, row
from tests.worker.virtual import START_MS, START_S

NOW = Instant(START_MS, START_S)


def refuse(*_unused):
    raise AssertionError("nothing of the kind was expected")


def owned(start=10, **options):
    return OwnedPartition(lease(start=start), lambda account_id: new_lane(account_id, **options), Room(1000))


def take(partition, *parcels, start=10, fell_behind=refuse):
    return list(partition.take(chunk_of(partition.lease, start, *parcels), NOW, refuse, fell_behind))


def written(partition, *places, account=ACCOUNT):
    """Intents at these places leave the window in a write."""
    lane = partition.lanes[account].lane
    lane.cursor.take(places)
    partition.reading.written(lane, Write(taken=list(places)))


def test_each_parcel_goes_to_the_lane_of_its_account():
    partition = owned()
    touched = take(partition, parcel(row(0), row(1)), parcel(row(2), account=OTHER_ACCOUNT))
    assert [(lane.account_id, len(lane.lane.window)) for lane in touched] == [(ACCOUNT, 2), (OTHER_ACCOUNT, 1)]
    assert partition.intents == 3


def test_the_offset_stays_before_the_first_parcel_with_an_untaken_intent():
    partition = owned()
    take(partition, parcel(row(0), row(1)), parcel(row(2), account=OTHER_ACCOUNT), parcel(row(3)))
    offset = partition.reading.offset
    assert offset.committable() == 10
    written(partition, Place(11, 0), account=OTHER_ACCOUNT)
    assert offset.committable() == 10
    written(partition, Place(10, 0), Place(10, 1))
    assert offset.committable() == 12
    written(partition, Place(12, 0))
    assert offset.committable() == 13


def test_an_account_without_intents_holds_nothing_up():
    partition = owned()
    take(partition, parcel(row(0)))
    written(partition, Place(10, 0))
    take(partition, parcel(account=OTHER_ACCOUNT), start=11)
    assert partition.reading.offset.committable() == 12


def test_a_chunk_without_messages_moves_the_offset():
    partition = owned()
    offset = partition.reading.offset
    assert offset.committable() == 10
    chunk = chunk_of(partition.lease, 10)
    assert not list(partition.take(chunk.__class__(chunk.lease, [], 10, 14), NOW, refuse, refuse))
    assert offset.committable() == 14


def test_a_full_lane_is_passed_over_and_recalled_without_a_gap():
    partition = owned(intents_max=2)
    fell: list[int | None] = []

    def fell_behind(behind, write, _now):
        fell.append(behind.lane.mark)
        # Submitted now, it must not carry an offset beyond what is passed over.
        assert partition.reading.offset.committable() == 10
        partition.reading.written(behind.lane, write)

    parcels = [parcel(row(0), row(1)), parcel(row(2)), parcel(row(3), account=OTHER_ACCOUNT), parcel(row(4))]
    touched = take(partition, *parcels, fell_behind=fell_behind)
    assert [lane.account_id for lane in touched] == [ACCOUNT, OTHER_ACCOUNT]
    assert fell == [11]
    assert partition.reading.offset.committable() == 12, "the other account's parcel, not what was passed over"
    assert partition.reading.recall_from() is None, "there is no room"

    lane = partition.lanes[ACCOUNT].lane
    lane.window.take(2, 0)
    written(partition, Place(10, 0), Place(10, 1))
    assert partition.reading.recall_from() == 11
    values = [value for one in parcels[1:] for value in encode_parcels(one)]
    keys = [ACCOUNT, OTHER_ACCOUNT, ACCOUNT]
    messages = [
        Message("parcels", 0, 11 + n, key=key.encode(), value=value)
        for n, (key, value) in enumerate(zip(keys, values, strict=True))
    ]
    assert [one.account_id for one in partition.recall(Recalled(11, messages, 14), NOW)] == [ACCOUNT, ACCOUNT]
    assert len(lane.window) == 2
    assert lane.mark is None
