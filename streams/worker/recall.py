"""Accounts that are behind: noticed once a second, and read again what they missed, as fast as costs nobody anything.

What must stay true: recall takes at most a quarter of the event loop's time and one piece of a partition at a time;
whatever goes wrong with it concerns only the accounts that are behind.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
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

# How often the beginnings of logs are looked at, and which share of a log next to its beginning is too near.
LOOK_S = 60.0
NEAR_SHARE = 0.1


def near_log_start(lows: Mapping[str, int], log_start: int, position: int) -> dict[str, int]:
    """Accounts whose place is in the first tenth of a log of which something has been deleted already."""
    near = log_start + NEAR_SHARE * (position - log_start)
    return {account_id: low for account_id, low in lows.items() if log_start > 0 and low <= near}


@dataclass(eq=False, slots=True)
class Recaller:
    """Looks after accounts that are behind. ``block`` stops a partition whose log has lost what one of them needs."""

    runner: LaneRunner
    open_reader: Callable[[Lease], RecallReader]
    block: Callable[[Lease, str], None]
    log_start: Callable[[Lease], Awaitable[int]]

    async def run(self) -> None:
        """Warn of logs that are about to lose what an account which is behind still needs, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            for partition in [each for each in self.runner.partitions.values() if each.reading.behind]:
                if partition.draining:
                    continue
                start = await self.log_start(partition.lease)
                lows = near_log_start(partition.reading.lows(), start, partition.reading.offset.position)
                for account_id, low in lows.items():
                    log.error(
                        "recall_near_log_start",
                        account_id=account_id,
                        partition=partition.lease.partition,
                        low=low,
                        log_start=start,
                        remedy="raise retention.ms of the parcels topic, and see why the account cannot submit",
                    )

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
