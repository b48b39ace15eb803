"""``submit``: parcels in, to the lanes of their accounts.

What must stay true: no account holds up another. A lane that is full is passed over, and the parcels that it missed are
read again later (:mod:`streams.worker.recall`); the partition is read on.
"""

from collections.abc import AsyncIterable
from dataclasses import dataclass

from streams.kafka.lease import Chunk
from streams.worker.lane_runner import LaneRunner


@dataclass(eq=False, slots=True)
class Submitter:
    """Feeds lanes."""

    runner: LaneRunner

    async def run(self, chunks: AsyncIterable[Chunk]) -> None:
        """Feed lanes until there are no more chunks.

        Raises:
            ChunkMissing: A chunk is not the next one of its lease.
        """
        async for chunk in chunks:
            self.runner.take(chunk)
