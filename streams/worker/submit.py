"""``submit``: parcels in, to the lanes of their accounts; and the back-pressure of lanes that are full.

What must stay true: the intents held by one worker are bounded, per lane and in all; a partition that holds a full lane
is paused and read again when there is room, without ever leaving the group.
"""

from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Protocol

from streams.kafka.lease import Chunk, Lease
from streams.worker.lane_runner import LaneRunner
from streams.worker.owned import OwnedPartition

# Reading goes on below this share of a bound: a pause throws away what the client has fetched ahead.
RESUME_SHARE = 0.8


class Flow(Protocol):
    """Pauses and resumes the reading of a partition."""

    def pause(self, lease: Lease) -> None:
        """Read no more for now."""
        ...

    def resume(self, lease: Lease) -> None:
        """Read again."""
        ...


@dataclass(eq=False, slots=True)
class Submitter:
    """Feeds lanes. ``lane_intents_max`` bounds a lane's window, ``worker_intents_max`` all of them together."""

    runner: LaneRunner
    flow: Flow
    lane_intents_max: int
    worker_intents_max: int

    async def run(self, chunks: AsyncIterable[Chunk]) -> None:
        """Feed lanes until there are no more chunks."""
        async for chunk in chunks:
            partition = self.runner.take(chunk)
            if partition is not None and not partition.paused and self._full(partition):
                partition.paused = True
                self.flow.pause(chunk.lease)

    def resume_where_there_is_room(self) -> None:
        """Read those partitions again whose lanes have room. To be called about once a second."""
        for partition in self.runner.partitions.values():
            if partition.paused and not self._full(partition, RESUME_SHARE):
                partition.paused = False
                self.flow.resume(partition.lease)

    def _full(self, partition: OwnedPartition, share: float = 1.0) -> bool:
        held = sum(owned.intents for owned in self.runner.partitions.values())
        if held >= share * self.worker_intents_max:
            return True
        return any(len(owned.lane.window) >= share * self.lane_intents_max for owned in partition.lanes.values())
