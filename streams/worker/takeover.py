"""Partitions come and go: rebuilding lanes from the journal, and handing them over.

What must stay true: no parcel reaches a lane before the journal's partition has been read up to its high watermark;
no lane goes on once its partition is being given up; a hand-over is committed before the partition is gone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from streams.kafka.lease import Lease
from streams.kafka.transport_options import PartitionBlocked
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.recovery import JournalFold, hand_over, restore
from streams.worker.clock import read_clock
from streams.worker.lane_runner import LaneRunner
from streams.worker.owned import OwnedPartition

log = structlog.stdlib.get_logger(__name__)

ReadJournal = Callable[[int], Awaitable[JournalFold]]


@dataclass(eq=False, slots=True)
class TakeOver:
    """Gives lanes to the runner and takes them away. ``read_journal`` folds one partition of the journal."""

    runner: LaneRunner
    read_journal: ReadJournal
    new_lane: Callable[[str], Lane]

    async def assigned(self, lease: Lease) -> None:
        """Rebuild the lanes of a parcels partition from the journal.

        Raises:
            PartitionBlocked: The group's offset and the journal contradict each other; an operator must decide.
        """
        began = read_clock()
        fold = await self.read_journal(lease.partition)
        _check_head(lease, fold)
        partition = OwnedPartition(lease, self.new_lane)
        assigned = Instant(began.wall_of(lease.assigned_at_s), lease.assigned_at_s)
        batches = 0
        for account_id, state in fold.accounts():
            owned = partition.lane_of(account_id)
            batches += len(state.batches)
            write = restore(owned.lane, state, assigned)
            if write.entries or write.outcomes:
                self.runner.submit(owned, write, read_clock())
        self.runner.partitions[lease] = partition
        self.runner.touch(partition.lanes.values())
        seconds = read_clock().boot_s - began.boot_s
        self.runner.observer.replayed(seconds)
        log.info(
            "partition_taken_over",
            partition=lease.partition,
            offset=lease.start_offset,
            accounts=len(partition.lanes),
            open_batches=batches,
            seconds=round(seconds, 3),
        )

    async def revoked(self, leases: Sequence[Lease], *, lost: bool) -> None:
        """Hand the lanes of these partitions over; with ``lost`` just forget them."""
        partitions = [self.runner.partitions[lease] for lease in leases if lease in self.runner.partitions]
        for partition in partitions:
            partition.draining = True
        began = read_clock()
        running = sum(len(partition.requests) for partition in partitions)
        if not lost:
            await asyncio.gather(*(self._drain(partition) for partition in partitions))
        for partition in partitions:
            del self.runner.partitions[partition.lease]
        if partitions:
            log.info(
                "partitions_lost" if lost else "partitions_handed_over",
                partitions=sorted(partition.lease.partition for partition in partitions),
                requests_finished=0 if lost else running,
                intents_handed_back=sum(partition.intents for partition in partitions),
                batches_handed_back=sum(len(o.lane.batches) for p in partitions for o in p.lanes.values()),
                unknown=running if lost else 0,
                seconds=round(read_clock().boot_s - began.boot_s, 3),
            )

    async def _drain(self, partition: OwnedPartition) -> None:
        while partition.requests:
            await asyncio.wait(partition.requests)
        for owned in partition.lanes.values():
            self.runner.submit(owned, hand_over(owned.lane, read_clock()), read_clock())
        await self.runner.submit_messages(partition, [])


def _check_head(lease: Lease, fold: JournalFold) -> None:
    head = fold.head
    if head is None:
        return
    where = f"{lease.topic}[{lease.partition}]"
    if lease.first_read:
        raise PartitionBlocked(
            f"{where}: the journal says that offset {head.offset} was committed, but the group has no offset. "
            f"Set the group's offset to {head.offset} to go on where it stopped."
        )
    if head.topic_id is not None and lease.topic_id is not None and head.topic_id != lease.topic_id:
        raise PartitionBlocked(f"{where}: the topic was created anew since the journal was written.")
