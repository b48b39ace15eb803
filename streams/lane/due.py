"""Batches in the order of the time at which something is due for them."""

import heapq
from collections.abc import Iterator

from streams.lane.batch import Batch


class Due:
    """A queue by time (``boot_s``). A batch stays until it is taken out here, and is in one such queue at most."""

    def __init__(self) -> None:
        self._queue: list[tuple[float, str, Batch]] = []

    def __len__(self) -> int:
        return len(self._queue)

    def __iter__(self) -> Iterator[Batch]:
        return (batch for _, _, batch in self._queue)

    def add(self, batch: Batch, when_s: float) -> None:
        """Something is due for this batch at ``when_s``."""
        heapq.heappush(self._queue, (when_s, batch.ref, batch))

    def first_at(self) -> float:
        """When the first is due; infinity if none is."""
        return self._queue[0][0] if self._queue else float("inf")

    def pop(self, now_s: float) -> Batch | None:
        """Take out the batch that has been due longest, if any is."""
        return heapq.heappop(self._queue)[2] if self.first_at() <= now_s else None

    def ready(self, now_s: float) -> list[Batch]:
        """The batches that are due, in no order."""
        return [batch for when_s, _, batch in self._queue if when_s <= now_s]

    def remove(self, batch: Batch) -> None:
        """Take out this batch, which must be here. Rare: an operator has decided about it, or its time is over."""
        self._queue.remove(next(entry for entry in self._queue if entry[2] is batch))
        heapq.heapify(self._queue)

    def drain(self) -> list[tuple[float, Batch]]:
        """Take out all, due or not, with their times."""
        queue, self._queue = self._queue, []
        return [(when_s, batch) for when_s, _, batch in queue]
