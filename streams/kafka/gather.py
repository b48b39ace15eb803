"""Read logs from outside, up to given offsets and in instalments: no group, nothing committed, nothing written.

Decided here: what "read" means. A log is read to an offset when every message before it was handed on, or was shown to
be no message: a transaction marker, or part of a transaction that was aborted. What must stay true: a read that returns
is complete; one that cannot be raises :class:`Unread`.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any, Final

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.kafka.client_config import KafkaOptions, admin_config, reader_config
from streams.kafka.follow import partitions_of
from streams.kafka.leaders import Leaders
from streams.kafka.offsets import EARLIEST, LATEST, REQUEST_TIMEOUT_S, RETRY_MAX_S
from streams.kafka.read_errors import PASSING

_WAIT_S: Final = 0.2

Progress = Callable[[str, int, int], None]

Span = tuple[int, int]
"""Two offsets of a partition: up to where it was read, and where that should end."""


class Unread(Exception):
    """Something that the verdict needs could not be read; the text says what, and why."""


class Cluster:
    """Questions about offsets, each asked again while it may be answered later."""

    def __init__(self, options: KafkaOptions, patience_s: float) -> None:
        # Several topics are read at once, and their queues would be most of what is used.
        queues = {"queued.max.messages.kbytes": 16_384, "queued.min.messages": 10_000}
        # What is read to its end is read on now and then, so a broker that has nothing need not say so at once.
        waits = {"fetch.wait.max.ms": 100}
        self.config: dict[str, Any] = reader_config(options) | {"log_level": 0} | queues | waits
        self.patience_s = patience_s
        self._admin = AdminClient(admin_config(options) | {"log_level": 0})
        self._leaders = Leaders(self._admin, REQUEST_TIMEOUT_S)
        self._asking = Consumer(self.config)

    def close(self) -> None:
        """Ask no more."""
        self._asking.close()

    def partitions(self, topic: str) -> list[int]:
        """The partitions of a topic. Raises ``TopicMissing``."""
        return partitions_of(self._asking, topic)

    def starts(self, topic: str) -> dict[int, int]:
        """Where the logs of a topic begin."""
        return self._bounds(topic, self.partitions(topic), EARLIEST, IsolationLevel.READ_UNCOMMITTED)

    def ends(self, topic: str, partitions: Iterable[int], *, committed: bool = False) -> dict[int, int]:
        """High watermarks; with ``committed`` the last stable offsets."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        return self._bounds(topic, partitions, LATEST, level)

    def at(self, topic: str, partitions: Iterable[int], time_ms: int, ends: Mapping[int, int]) -> dict[int, int]:
        """The first offsets that are not before a time."""
        asked = [TopicPartition(topic, partition, max(0, time_ms)) for partition in partitions]
        found = self._patiently(lambda: self._asking.offsets_for_times(asked, REQUEST_TIMEOUT_S))
        return {each.partition: each.offset if each.offset >= 0 else ends[each.partition] for each in found}

    def time_of(self, topic: str, partition: int, offset: int) -> int | None:
        """The timestamp of the first message from ``offset`` on."""
        with closing(Consumer(self.config)) as reader:
            reader.assign([TopicPartition(topic, partition, offset)])
            deadline_s = time.monotonic() + self.patience_s
            while time.monotonic() < deadline_s:
                message = reader.poll(_WAIT_S)
                if message is not None:
                    return None if message.error() else int(message.timestamp()[1])
        return None

    def committed(self, topic: str, partitions: Iterable[int] | None = None) -> dict[int, int]:
        """The group's offsets; partitions for which it has none are left out."""
        among = self.partitions(topic) if partitions is None else partitions
        asked = [TopicPartition(topic, partition) for partition in among]

        def ask() -> list[TopicPartition]:
            found = self._asking.committed(asked, timeout=REQUEST_TIMEOUT_S)
            for each in found:
                if each.error is not None:
                    raise KafkaException(each.error)
            return found

        return {each.partition: each.offset for each in self._patiently(ask) if each.offset >= 0}

    def _bounds(self, topic: str, partitions: Iterable[int], spec: Any, level: IsolationLevel) -> dict[int, int]:
        asked = {TopicPartition(topic, partition): spec for partition in partitions}

        def ask() -> dict[int, int]:
            self._leaders.learn([topic])
            answers = self._admin.list_offsets(asked, isolation_level=level, request_timeout=REQUEST_TIMEOUT_S)
            try:
                return {where.partition: int(answer.result().offset) for where, answer in answers.items()}
            except KafkaException:
                self._leaders.forget([topic])
                raise

        return self._patiently(ask) if asked else {}

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        deadline_s = time.monotonic() + self.patience_s
        while True:
            try:
                return ask()
            except KafkaException as error:
                if time.monotonic() > deadline_s or not error.args[0].retriable():
                    raise
            # A command's own thread, which has nothing else to do.
            time.sleep(RETRY_MAX_S)  # one question a second to a broker that does not answer


class Log:
    """One topic, read on from where the last round ended."""

    def __init__(self, cluster: Cluster, topic: str, starts: Mapping[int, int], at_once: int) -> None:
        self.topic = topic
        self.first_times_ms: dict[int, int] = {}
        self._cluster = cluster
        self._at_once = at_once
        self._next = dict(starts)
        self._consumer = Consumer(cluster.config)
        self._consumer.assign([TopicPartition(topic, p, offset) for p, offset in starts.items()])

    def close(self) -> None:
        """Read no more."""
        self._consumer.close()

    def read_to(self, ends: Mapping[int, int], take: Callable[[Message], None], progress: Progress) -> None:
        """Hand on every message before ``ends``.

        Raises:
            Unread: nothing came for too long, or retention was faster.
        """
        starts = sum(self._next.values())
        goal = sum(max(ends[p], at) for p, at in self._next.items()) - starts

        def tell() -> None:
            progress(self.topic, sum(self._next.values()) - starts, goal)

        self.read_until(lambda: self._short_of(ends), take, tell)

    def read_until(
        self, missing: Callable[[], Mapping[int, Span]], take: Callable[[Message], None], tell: Callable[[], None]
    ) -> None:
        """Hand on messages until nothing is ``missing``: where a partition stands, and where it has to get to.

        Raises:
            Unread: nothing came for too long, or retention was faster.
        """
        moved_at_s = time.monotonic()
        while short := missing():
            if self.read_some(take):
                moved_at_s = time.monotonic()
                tell()
            elif time.monotonic() - moved_at_s > self._cluster.patience_s:
                silent_s = self._cluster.patience_s
                raise Unread(f"{self.topic} stands at {dict(short)} (read, end): nothing came for {silent_s:g} s")

    def _short_of(self, ends: Mapping[int, int]) -> dict[int, Span]:
        return {p: (at, ends[p]) for p, at in self._next.items() if at < ends[p]}

    def read_some(self, take: Callable[[Message], None]) -> bool:
        """Hand on what comes now, or within a moment; whether anything came.

        Raises:
            Unread: retention was faster.
        """
        # To wait for many would be to wait until the time is up.
        first = self._consumer.poll(_WAIT_S)
        messages = [] if first is None else [first, *self._consumer.consume(self._at_once, 0)]
        for message in messages:
            self._take(message, take)
        return bool(messages)

    def stands_at(self, partition: int) -> int:
        """Up to which offset a partition was read."""
        return self._next[partition]

    def pause(self, partition: int, *, paused: bool) -> None:
        """Read no more of a partition, or go on with it."""
        where = [TopicPartition(self.topic, partition)]
        (self._consumer.pause if paused else self._consumer.resume)(where)

    def _take(self, message: Message, take: Callable[[Message], None]) -> None:
        error, partition, offset = message.error(), message.partition() or 0, message.offset() or 0
        if error is None:
            if partition not in self.first_times_ms:
                self.first_times_ms[partition] = message.timestamp()[1]
            take(message)
            self._next[partition] = offset + 1
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name in confluent-kafka
            # Behind transaction markers, which are never delivered.
            self._next[partition] = max(self._next[partition], offset)
        elif error.code() in _GONE:
            raise Unread(f"{self.topic}[{partition}]: retention removed messages before they were read")
        elif not error.retriable() and error.code() not in PASSING:
            raise KafkaException(error)


# The library's own codes begin with an underscore and are public all the same.
_GONE: Final = frozenset({KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET})  # noqa: SLF001
