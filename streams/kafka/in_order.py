"""The messages of a range of a topic in the order of time, over all its partitions: as they arrived.

Within a partition they keep their order, whatever their timestamps say. What must stay true: of each partition no more
than a bounded number waits for the others, however long these are.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

from confluent_kafka import Message

from streams.kafka.gather import Cluster, Log, Progress, Span
from streams.kafka.ranges import Bounds
from streams.kafka.received import offset_of

# Messages of one partition that wait for those of the others: a few MiB.
_AHEAD_MAX: Final = 4_000
_AT_ONCE: Final = 2_000


class InOrder:
    """Reads the range once. ``progress`` is told how far it is."""

    def __init__(self, cluster: Cluster, topic: str, bounds: Mapping[int, Bounds], progress: Progress) -> None:
        self._ends = {p: each.end for p, each in bounds.items() if each.first < each.end}
        self._total = sum(bounds[p].end - bounds[p].first for p in self._ends)
        self._log = Log(cluster, topic, {p: bounds[p].first for p in self._ends}, _AT_ONCE)
        self._ahead: dict[int, deque[Message]] = {p: deque() for p in self._ends}
        self._paused: set[int] = set()
        self._progress = progress

    def close(self) -> None:
        """Read no more."""
        self._log.close()

    def messages(self) -> Iterator[Message]:
        """Yield every message of the range.

        Raises:
            Unread: nothing came for too long, or retention was faster.
        """
        lacking = set(self._ends)
        heads: list[tuple[int, int]] = []
        done = 0
        while lacking or heads:
            for partition in self._fill(lacking) if lacking else ():
                lacking.discard(partition)
                if self._ahead[partition]:
                    heapq.heappush(heads, self._head(partition))
            if lacking or not heads:
                continue
            _, partition = heapq.heappop(heads)
            yield self._next_of(partition)
            done += 1
            if done % _AT_ONCE == 0:
                self._progress(self._log.topic, done, self._total)
            if self._ahead[partition]:
                heapq.heappush(heads, self._head(partition))
            else:
                lacking.add(partition)

    def _head(self, partition: int) -> tuple[int, int]:
        return int(self._ahead[partition][0].timestamp()[1]), partition

    def _next_of(self, partition: int) -> Message:
        ahead = self._ahead[partition]
        message = ahead.popleft()
        if partition in self._paused and len(ahead) <= _AHEAD_MAX // 2:
            self._paused.discard(partition)
            self._log.pause(partition, paused=False)
        return message

    def _fill(self, lacking: set[int]) -> list[int]:
        """Read on; return the partitions of which the next message is known now, or that there is none."""
        known: list[int] = []

        def missing() -> dict[int, Span]:
            known[:] = [p for p in lacking if self._ahead[p] or self._log.stands_at(p) >= self._ends[p]]
            return {} if known else {p: (self._log.stands_at(p), self._ends[p]) for p in sorted(lacking)}

        self._log.read_until(missing, self._keep, lambda: None)
        return known

    def _keep(self, message: Message) -> None:
        partition = message.partition() or 0
        if offset_of(message) >= self._ends[partition]:
            return
        ahead = self._ahead[partition]
        ahead.append(message)
        if len(ahead) >= _AHEAD_MAX and partition not in self._paused:
            self._paused.add(partition)
            self._log.pause(partition, paused=True)
