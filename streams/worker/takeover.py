"""Partitions come and go: rebuilding lanes from the journal, and handing them over.

What must stay true: no parcel reaches a lane before the journal's partition has been read up to its high watermark;
no lane goes on once its partition is being given up; a hand-over is committed before the partition is gone.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TypeVar

import structlog

from streams import failpoint
from streams.contracts.errors import UnreadableMessage
from streams.kafka.committer import LeaseLost
from streams.kafka.lease import Lease
from streams.kafka.positions import trouble_of_parcels
from streams.kafka.standing import JOURNAL_REMEDY, PartitionBlocked, stop_at
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.reading import Room
from streams.lane.recovery import JournalFold, hand_over, restore
from streams.worker.clock import read_clock
from streams.worker.draining import GivenUp
from streams.worker.lane_runner import LaneRunner
from streams.worker.owned import OwnedPartition

log = structlog.stdlib.get_logger(__name__)

_Read = TypeVar("_Read")

ReadJournal = Callable[[int], Awaitable[JournalFold]]


@dataclass(eq=False, slots=True)
class TakeOver:
    """Gives lanes to the runner and takes them away.

    ``read_journal`` folds one partition of the journal. ``given_up`` adds up what became of the work of partitions that
    were given up.
    """

    runner: LaneRunner
    read_journal: ReadJournal
    new_lane: Callable[[str], Lane]
    room: Room
    given_up: GivenUp = field(default_factory=GivenUp)
    _giving_up: dict[OwnedPartition, int] = field(default_factory=dict)

    async def assigned(self, lease: Lease) -> None:
        """Rebuild the lanes of a parcels partition from the journal.

        Raises:
            PartitionBlocked: The group's offset and the journal contradict each other, or what is in the journal
                cannot be made into lanes; an operator must decide.
        """
        began = read_clock()
        if failpoint.hit is not None:
            failpoint.hit("takeover_begin")
        fold = await self.read_journal(lease.partition)
        accounts = _read(lease, lambda: list(fold.accounts()))
        if lease.standing is not None:
            cursors = {account_id: state.cursor for account_id, state in accounts if state.cursor is not None}
            stop_at(trouble_of_parcels(lease.standing, fold.head, cursors))
        if failpoint.hit is not None:
            failpoint.hit("takeover_replayed")
        partition = OwnedPartition(lease, self.new_lane, self.room)
        assigned = Instant(began.wall_of(lease.assigned_at_s), lease.assigned_at_s)
        # All of them before anything is written: of a partition that turns out to be blocked nothing changes.
        restored = [
            (owned, _read(lease, partial(restore, owned.lane, state, assigned)))
            for account_id, state in accounts
            for owned in [partition.lane_of(account_id)]
        ]
        for owned, write in restored:
            partition.reading.resume(owned.lane)
            if write.entries or write.outcomes:
                self.runner.submit(owned, write, read_clock())
        self.runner.partitions[lease] = partition
        for account_id in (name for name, owned in partition.lanes.items() if owned.lane.options.blocked):
            log.warning(
                "account_blocked",
                account_id=account_id,
                reason="no_credentials",
                remedy="configure the account again, or let what it has end with its calls",
            )
        self.runner.touch(partition.lanes.values())
        if failpoint.hit is not None:
            failpoint.hit("takeover_end")
        seconds = read_clock().boot_s - began.boot_s
        self.runner.observer.replayed(seconds)
        log.info(
            "partition_taken_over",
            partition=lease.partition,
            offset=lease.start_offset,
            accounts=len(partition.lanes),
            behind=len(partition.reading.behind),
            open_batches=sum(len(state.batches) for _, state in accounts),
            seconds=round(seconds, 3),
        )

    async def revoked(self, leases: Sequence[Lease], *, lost: bool) -> None:
        """Hand the lanes of these partitions over; where they are ``lost``, or get lost meanwhile, just forget them."""
        partitions = [self.runner.partitions[lease] for lease in leases if lease in self.runner.partitions]
        if not partitions:
            return
        for partition in partitions:
            partition.draining = True
            self._giving_up[partition] = len(partition.requests)
        began = read_clock()
        if not lost:
            await asyncio.gather(*(self._drain(partition) for partition in partitions))
            lost = any(partition.lease.lost for partition in partitions)
        told = GivenUp()
        for partition in partitions:
            running = self._giving_up.pop(partition)
            told += _left_by(partition, sent=0 if lost else running, unknown=running if lost else 0)
            del self.runner.partitions[partition.lease]
            partition.reading.leave()
        self.given_up += told
        log.info(
            "partitions_lost" if lost else "partitions_handed_over",
            partitions=sorted(partition.lease.partition for partition in partitions),
            **asdict(told),
            seconds=round(read_clock().boot_s - began.boot_s, 3),
        )

    def cut_off(self) -> GivenUp:
        """What has become of the work if the process ends now. Any thread.

        A request counts as unknown until its partition has been handed over: only then its answer is known to be
        recorded.
        """
        told = replace(self.given_up)
        for partition in list(self.runner.partitions.values()):
            told += _left_by(partition, unknown=self._giving_up.get(partition, len(partition.requests)))
        return told

    async def _drain(self, partition: OwnedPartition) -> None:
        """Record what becomes of running requests, and hand over. The partition may be lost meanwhile."""
        while partition.requests:
            await asyncio.wait(partition.requests)
        for owned in partition.lanes.values():
            self.runner.submit(owned, hand_over(owned.lane, read_clock()), read_clock())
        offset = partition.reading.offset.committable()
        head = self.runner.encoder.head(partition.lease, offset, read_clock().wall_ms)
        with contextlib.suppress(LeaseLost):
            await self.runner.submit_messages(partition, [head])


def _read(lease: Lease, read: Callable[[], _Read]) -> _Read:
    try:
        return read()
    except UnreadableMessage as error:
        raise PartitionBlocked(
            f"{lease.topic}[{lease.partition}]: partition {lease.partition} of the journal cannot be understood: "
            f"{error}. {JOURNAL_REMEDY}"
        ) from error


def _left_by(partition: OwnedPartition, *, sent: int = 0, unknown: int = 0) -> GivenUp:
    batches = sum(len(owned.lane.batches) for owned in list(partition.lanes.values()))
    return GivenUp(sent, partition.intents, batches, unknown)
