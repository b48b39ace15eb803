"""Which part of a topic is meant: all of it, between two times, or between offsets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from streams.kafka.gather import Cluster, Unread


@dataclass(frozen=True, slots=True)
class Range:
    """Which intents: between two times (epoch milliseconds), or between two offsets of some partitions; else all."""

    from_ms: int | None = None
    to_ms: int | None = None
    offsets: Mapping[int, tuple[int, int | None]] | None = None

    @property
    def whole(self) -> bool:
        """Whether it takes in everything."""
        return self == Range()


class Bounds(NamedTuple):
    """Of a partition of the intents: where its log begins and ends, and the first offset of the range and its end."""

    low: int
    high: int
    first: int
    end: int


def bounds_of(cluster: Cluster, topic: str, wanted: Range) -> dict[int, Bounds]:
    """The bounds of what is wanted, by partition.

    Raises:
        Unread: a partition is wanted that the topic does not have.
    """
    low = cluster.starts(topic)
    # As the workers see it: an open transaction of a dialer is not read.
    high = cluster.ends(topic, low, committed=True)
    first, end = dict(low), dict(high)
    if wanted.offsets is not None:
        if missing := wanted.offsets.keys() - low.keys():
            raise Unread(f"{topic} has no partition {', '.join(map(str, sorted(missing)))}")
        first = {p: max(low[p], wanted.offsets[p][0]) if p in wanted.offsets else high[p] for p in low}
        end |= {p: min(high[p], to) for p, (_, to) in wanted.offsets.items() if to is not None}
    if wanted.from_ms is not None:
        first = _within(high, cluster.at(topic, low, wanted.from_ms, high))
    if wanted.to_ms is not None:
        end = _within(high, cluster.at(topic, low, wanted.to_ms, high))
    return {p: Bounds(low[p], high[p], first[p], max(first[p], end[p])) for p in low}


def _within(high: Mapping[int, int], offsets: Mapping[int, int]) -> dict[int, int]:
    """What a time leads to may lie in a transaction that is still open."""
    return {partition: min(high[partition], offset) for partition, offset in offsets.items()}


def not_there(topic: str, wanted: Range, bounds: Mapping[int, Bounds]) -> Iterator[str]:
    """What is wanted by offset and has left the log, in words."""
    for partition, (start, end) in sorted((wanted.offsets or {}).items()):
        low = bounds[partition].low
        if start < low:
            gone = f"[{start}, {low if end is None else min(end, low)})"
            yield f"{topic}[{partition}]: {gone} is not in the log any more"


def perhaps_not_there(topic: str, wanted: Range, bounds: Mapping[int, Bounds]) -> Iterator[str]:
    """Where a range that begins at a time may have begun before the log does, in words."""
    cut = {p: each.low for p, each in bounds.items() if each.first == each.low > 0}
    if wanted.from_ms is not None and cut:
        told = ", ".join(f"[{partition}] before {low}" for partition, low in sorted(cut.items()))
        yield f"{topic}: what retention has removed may have been in the range: {told}"
