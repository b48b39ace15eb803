"""What happens once a second: offsets with nothing else to write, the journal's head, who is behind, gauges."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from streams.kafka.lease import Lease
from streams.worker.clock import boot_s, read_clock
from streams.worker.lane_runner import LaneRunner
from streams.worker.owned import OwnedPartition
from streams.worker.recall import Recaller

PERIOD_S = 1.0

# How far the journal's head may lag behind the committed offset. It only has to tell a lost offset from a first start.
HEAD_PERIOD_S = 10.0

# Looking at a lane for the gauges takes some ten microseconds. Where there are very many, that is done more rarely.
SAMPLED_PER_S = 2500


@dataclass(eq=False, slots=True)
class Housekeeping:
    """Keeps house for the lanes. ``sample_consuming`` reports how the consumed topics stand."""

    runner: LaneRunner
    recaller: Recaller
    sample_consuming: Callable[[], None]
    _heads: dict[Lease, tuple[float, int]] = field(default_factory=dict)
    _sample_at_s: float = float("-inf")

    async def run(self) -> None:
        """Keep house until cancelled."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._keep())
            both.create_task(self.recaller.run())

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            partitions = [p for p in self.runner.partitions.values() if not p.draining]
            for partition in partitions:
                self.recaller.tend(partition, read_clock())
                self._commit_offset(partition)
            self._heads = {lease: head for lease, head in self._heads.items() if lease in self.runner.partitions}
            self._sample(partitions)
            self.sample_consuming()

    def _sample(self, partitions: list[OwnedPartition]) -> None:
        if boot_s() >= self._sample_at_s:
            # A little less than whole periods, so that none is missed by a hair.
            lanes = sum(len(partition.lanes) for partition in partitions)
            self._sample_at_s = boot_s() + lanes / SAMPLED_PER_S - PERIOD_S / 2
            self.runner.observer.sampled(partitions, read_clock())

    def _commit_offset(self, partition: OwnedPartition) -> None:
        offset = partition.reading.offset.committable()
        written_at_s, written = self._heads.get(partition.lease, (float("-inf"), -1))
        messages = []
        if offset != written and boot_s() - written_at_s >= HEAD_PERIOD_S:
            self._heads[partition.lease] = (boot_s(), offset)
            messages.append(self.runner.encoder.head(partition.lease, offset, read_clock().wall_ms))
        if messages or offset != partition.submitted_offset:
            self.runner.submit_messages(partition, messages)
