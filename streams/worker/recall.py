"""Accounts that are behind: noticed once a second, and read again what they missed, as fast as costs nobody anything.

What must stay true: recall takes at most a quarter of the event loop's time and one piece of a partition at a time;
whatever goes wrong with it concerns only the accounts that are behind.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaException

from streams.kafka.lease import Lease
from streams.kafka.recall import RecallGap, RecallReader
from streams.lane.instant import Instant
from streams.worker.clock import boot_s
from streams.worker.lane_runner import LaneRunner
from streams.worker.owned import OwnedPartition

log = structlog.stdlib.get_logger(__name__)

# After each piece, others have the loop for three times as long as the piece took, and for this long at least.
PAUSES = 3.0
PAUSE_MIN_S = 0.01


@dataclass(eq=False, slots=True)
class Recaller:
    """Looks after accounts that are behind. ``block`` stops a partition whose log has lost what one of them needs."""

    runner: LaneRunner
    open_reader: Callable[[Lease], RecallReader]
    block: Callable[[Lease, str], None]

    def tend(self, partition: OwnedPartition, now: Instant) -> None:
        """Let accounts fall behind that hold the offset for too long, and those catch up that can. Once a second."""
        reading = partition.reading
        while (lane := reading.lagging(now)) is not None:
            owned = partition.lanes[lane.options.account_id]
            self.runner.fell_behind(owned, reading.fall_behind(lane), now)
        for lane in list(reading.behind):
            # The offset may move with each that catches up.
            if reading.caught_up(lane, partition.submitted_offset):
                owned = partition.lanes[lane.options.account_id]
                self.runner.caught_up(owned, reading.catch_up(lane, now), now)
        if partition.recalling is None and not partition.gap and reading.recall_from() is not None:
            partition.recalling = asyncio.ensure_future(self._recall(partition))
            partition.recalling.add_done_callback(lambda task: self._ended(partition, task))

    async def _recall(self, partition: OwnedPartition) -> None:
        reading = partition.reading
        reader = self.open_reader(partition.lease)
        try:
            while not partition.draining and (start := reading.recall_from()) is not None:
                recalled = await reader.read(start, reading.offset.position)
                began_s = boot_s()
                self.runner.recall(partition, recalled)
                await asyncio.sleep(max(PAUSE_MIN_S, PAUSES * (boot_s() - began_s)))
        except RecallGap as gap:
            partition.gap = True
            if not partition.draining:
                self.block(partition.lease, str(gap))
        except KafkaException as error:
            log.warning("recall_failed", partition=partition.lease.partition, cause=error.args[0].name())
        finally:
            await reader.close()

    def _ended(self, partition: OwnedPartition, task: "asyncio.Task[None]") -> None:
        partition.recalling = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self.runner.on_fatal(1, f"recall failed: {type(error).__name__}")
