"""Read a partition of the journal from its beginning to where it ends now.

Decided here: what "to the end" means. The target is the *high watermark*, taken from a ``read_uncommitted`` handle when
the replay begins; the end that a ``read_committed`` reader is told may lie before a transaction that is still open, or
that is committed with its markers not yet written. What must stay true: a replay that returns has seen every entry that
was committed before it began; one that cannot get there raises, and never returns early. What cannot be read, because
the log is damaged or the entry is of another release, is never passed over: it may be a batch and all its intents.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.contracts.errors import UnreadableMessage
from streams.kafka.client_config import KafkaOptions, reader_config
from streams.kafka.read_errors import PASSING, Stop, readable_from, stop_of
from streams.kafka.received import offset_of
from streams.kafka.standing import JOURNAL_REMEDY, PartitionBlocked

# Enough for a chunk to be cheap to hand over, few enough not to hold up the event loop while it is applied.
CHUNK_MESSAGES_MAX: Final = 1_000
_LOOKUP_TIMEOUT_S: Final = 15.0
# A broker that has nothing more to give says so after this time, 500 ms by default. A log of transactions ends with
# their markers, so each replay waits for that once.
_END_WAIT: Final = {"fetch.wait.max.ms": 20}
_WAIT_S: Final = 0.2
# The library's own codes begin with an underscore and are public all the same.
_PARTITION_EOF: Final = KafkaError._PARTITION_EOF  # noqa: SLF001


class ReplayStalled(Exception):
    """The end of the partition cannot be reached: nothing came for too long, or the log ends before it."""

    def __init__(self, topic: str, partition: int, position: int, target: int, cause: str) -> None:
        super().__init__(f"replay of {topic}[{partition}] stands at offset {position} of {target}: {cause}")
        self.topic = topic
        self.partition = partition
        self.position = position
        self.target = target


class JournalUnreadable(PartitionBlocked):
    """Offsets ``[start, end)`` of the journal cannot be read; ``end`` is ``None`` where the client did not say.

    A start anew would meet them again, so the partition that depends on them waits for an operator.
    """

    def __init__(self, topic: str, partition: int, start: int, end: int | None, cause: str) -> None:
        super().__init__(
            f"{topic}[{partition}]: offsets [{start}, {'?' if end is None else end}) cannot be read: {cause}. "
            f"{JOURNAL_REMEDY}"
        )
        self.start = start
        self.end = end


def one_by_one(apply: Callable[[bytes | None, bytes | None], None]) -> Callable[[Sequence[Message]], None]:
    """What :func:`replay` is to call so that ``apply`` gets key and value of each message.

    The result raises :class:`JournalUnreadable` with the place of a message that ``apply`` does not understand.
    """

    def apply_all(messages: Sequence[Message]) -> None:
        for message in messages:
            try:
                apply(message.key(), message.value())
            except UnreadableMessage as error:
                offset = offset_of(message)
                raise JournalUnreadable(
                    message.topic() or "", message.partition() or 0, offset, offset + 1, str(error)
                ) from error

    return apply_all


async def replay(
    options: KafkaOptions,
    topic: str,
    partition: int,
    apply: Callable[[Sequence[Message]], None],
    *,
    stall_timeout_s: float = 30.0,
) -> int:
    """Read ``topic``'s ``partition`` as ``read_committed``, from its beginning to its high watermark of now.

    ``apply`` is called on the event loop with up to 1,000 messages at a time, in order; reading happens in threads.
    May be cancelled.

    Returns:
        The number of messages read.

    Raises:
        ReplayStalled: no progress for ``stall_timeout_s``, or the log ends before the target.
        JournalUnreadable: what is stored at a place cannot be read, now or later.
        KafkaException: the partition cannot be read.
    """
    count = 0
    reader = _Reader(options, topic, partition, stall_timeout_s)
    run = asyncio.get_running_loop().run_in_executor
    # A thread of its own. The loop's few threads also look up host names: with a name server that does not answer they
    # are all taken, and a partition that changes hands would wait for them until its time is over.
    thread = ThreadPoolExecutor(1, thread_name_prefix="callstream-replay")
    try:
        await run(thread, reader.open)
        while not reader.done:
            messages = await run(thread, reader.read)
            apply(messages)
            count += len(messages)
    finally:
        # Behind a read that may still be under way after a cancellation.
        closed = run(thread, reader.close)
        thread.shutdown(wait=False)
        await closed
    return count


class _Reader:
    """Blocking side of a replay, for one thread."""

    def __init__(self, options: KafkaOptions, topic: str, partition: int, stall_timeout_s: float) -> None:
        self._options = options
        self._topic = topic
        self._partition = partition
        self._stall_timeout_s = stall_timeout_s
        self._consumer = Consumer(reader_config(options) | _END_WAIT)
        self._position = 0
        self._target = 0
        self._moved_at_s = 0.0
        self._stop: Stop | None = None

    @property
    def done(self) -> bool:
        """Whether everything up to the target was read."""
        return self._position >= self._target

    def open(self) -> None:
        """Take the target and begin to fetch."""
        self._position, self._target = self._watermarks()
        self._moved_at_s = time.monotonic()
        if not self.done:
            self._consumer.assign([TopicPartition(self._topic, self._partition, self._position)])

    def read(self) -> list[Message]:
        """Return what has come, possibly nothing."""
        first = self._consumer.poll(_WAIT_S)
        polled = [] if first is None else [first, *self._consumer.consume(CHUNK_MESSAGES_MAX - 1, 0)]
        before = self._position
        messages = [message for message in polled if self._advance(message)]
        if self._stop is not None:
            raise JournalUnreadable(
                self._topic, self._partition, self._stop.offset, self._stop.readable_from, self._stop.cause
            )
        now_s = time.monotonic()
        if self._position != before:
            self._moved_at_s = now_s
        elif now_s - self._moved_at_s > self._stall_timeout_s:
            raise self._stalled(f"nothing came for {self._stall_timeout_s:g} s")
        return messages

    def close(self) -> None:
        """End the fetching, after a read that is still under way."""
        self._consumer.close()

    def _advance(self, message: Message) -> bool:
        error, offset = message.error(), message.offset()
        if self._stop is not None:
            # The client goes on behind what it could not read.
            self._stop = self._stop if error is not None else readable_from(self._stop, message)
            return False
        if error is None:
            assert offset is not None
            self._position = offset + 1
            return True
        if error.code() == _PARTITION_EOF:
            assert offset is not None
            # Beyond the markers and aborted messages at the end, which are never delivered.
            self._position = max(self._position, offset)
            if not self.done and (end := self._watermarks()[1]) < self._target:
                raise self._stalled(f"the log ends at {end}, it was cut off since the replay began")
        elif (stop := stop_of(message, error)) is not None and not stop.out_of_range:
            self._stop = stop._replace(offset=self._position)
        elif error.code() not in PASSING:
            raise KafkaException(error)
        return False

    def _watermarks(self) -> tuple[int, int]:
        # To a ``read_committed`` handle the broker tells the last stable offset instead.
        uncommitted = reader_config(self._options) | {"isolation.level": "read_uncommitted"}
        with contextlib.closing(Consumer(uncommitted)) as handle:
            place = TopicPartition(self._topic, self._partition)
            low, high = handle.get_watermark_offsets(place, timeout=_LOOKUP_TIMEOUT_S)
        return low, high

    def _stalled(self, cause: str) -> ReplayStalled:
        return ReplayStalled(self._topic, self._partition, self._position, self._target, cause)
