"""Where the intents of a plan come from: a file, or the topic, whole or in part.

What must stay true: nothing is committed, and what was asked for and is not there is said.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import BinaryIO, Final

from streams.cli.kafka import KafkaRefused, KafkaView, kafka_errors
from streams.cli.ndjson import read_lines
from streams.cli.ranges import Progress
from streams.contracts.exits import ExitCode, OperatorError
from streams.kafka.gather import Cluster, Unread
from streams.kafka.in_order import InOrder
from streams.kafka.ranges import Bounds, Range, bounds_of, not_there, perhaps_not_there
from streams.kafka.received import headers_of
from streams.plan.planner import Arrival

# How long nothing may come before the topic counts as unreadable.
_PATIENCE_S: Final = 60.0

Note = Callable[[str], None]


class Unplanned(OperatorError):
    """The intents cannot be read, so nothing can be said of them."""

    exit_code = ExitCode.PRECONDITION


def of_file(stream: BinaryIO) -> Iterator[Arrival]:
    """The lines of a file. When they arrive it does not say."""
    for number, line in read_lines(stream):
        yield Arrival(0, f"line {number}", line, too_large=line is None)


def paced(arrivals: Iterator[Arrival], rate: float, start_ms: int) -> Iterator[Arrival]:
    """The same, from ``start_ms`` on, so many a second; 0 is all at once."""
    for count, arrival in enumerate(arrivals):
        yield arrival._replace(at_ms=start_ms + round(count * 1000 / rate if rate else 0))


def of_topic(view: KafkaView, wanted: Range | None, note: Note) -> Iterator[Arrival]:
    """The messages of the intents topic, as they arrived there; without ``wanted`` those that no worker has routed.

    ``note`` is told what is not there.
    """
    topic = view.topics.intents
    try:
        with kafka_errors(view.options), closing(Cluster(view.options, _PATIENCE_S)) as cluster:
            chosen = _unrouted(cluster, topic) if wanted is None else wanted
            bounds = bounds_of(cluster, topic, chosen)
            for gone in (*not_there(topic, chosen, bounds), *perhaps_not_there(topic, chosen, bounds)):
                note(gone)
            message = None
            with closing(InOrder(cluster, topic, bounds, Progress().tell)) as log:
                for message in log.messages():
                    where = f"{topic}[{message.partition()}] offset {message.offset()}"
                    yield Arrival(message.timestamp()[1], where, message.value(), headers_of(message))
            # Not by the bounds: behind the last message there may be a marker of a transaction.
            if message is None:
                note(_nothing(topic, bounds, backlog=wanted is None))
    except (Unread, KafkaRefused) as error:
        raise Unplanned(str(error)) from error


def _unrouted(cluster: Cluster, topic: str) -> Range:
    """From the group's committed offsets on; a partition without one was never read."""
    low, committed = cluster.starts(topic), cluster.committed(topic)
    return Range(offsets={p: (committed.get(p, low[p]), None) for p in low})


def _nothing(topic: str, bounds: Mapping[int, Bounds], *, backlog: bool) -> str:
    if all(each.low >= each.high for each in bounds.values()):
        return f"{topic} is empty"
    return f"nothing in {topic} waits for a worker" if backlog else f"{topic} is not empty, but has none in that range"
