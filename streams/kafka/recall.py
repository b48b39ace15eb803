"""Read a part of a partition again, for accounts that were passed over: apart from the group, in small pieces.

What must stay true: reading is ``read_committed``, without a gap from the offset asked for, and never goes beyond the
offset it is told; what has been fetched ahead is bounded; where the log no longer has the offset, that is an error.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.kafka.client_config import KafkaOptions, reader_config
from streams.kafka.read_errors import PASSING
from streams.kafka.received import offset_of

# A piece is handled in one go on the event loop: with all its rows decoded and taken in, that is a few milliseconds.
PIECE_BYTES_MAX: Final = 256 * 1024
PIECE_MESSAGES_MAX: Final = 500
_WAIT_S: Final = 0.2
# What is fetched ahead is thrown away at every leap, and there may be a reader for each partition.
_AHEAD: Final[dict[str, Any]] = {"queued.min.messages": 1_000, "queued.max.messages.kbytes": 2_048}
# The library's own codes begin with an underscore and are public all the same.
_PARTITION_EOF: Final = KafkaError._PARTITION_EOF  # noqa: SLF001
_AUTO_OFFSET_RESET: Final = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001


class Recalled(NamedTuple):
    """A piece of a partition: all messages from ``start`` up to ``next``, which may equal it where nothing came."""

    start: int
    messages: Sequence[Message]
    next: int


class RecallGap(Exception):
    """The log no longer has the offset from which it should be read again."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        super().__init__(f"{topic}[{partition}]: offset {offset} is not in the log any more")


class RecallReader:
    """Reads one partition for those who missed something. To be closed."""

    def __init__(self, options: KafkaOptions, topic: str, partition: int) -> None:
        self._topic = topic
        self._partition = partition
        self._consumer = Consumer(reader_config(options) | _AHEAD)
        # A read goes on in its thread when its caller is cancelled; nobody else may use the client meanwhile.
        self._lock = threading.Lock()
        self._position = -1
        self._ahead: deque[Message] = deque()

    async def read(self, start: int, end: int) -> Recalled:
        """The next piece from ``start``, below ``end``; waits a fifth of a second at most if nothing is there yet.

        Raises:
            RecallGap: The log begins behind ``start``.
            KafkaException: The partition cannot be read.
        """
        return await asyncio.to_thread(self._read, start, end)

    async def close(self) -> None:
        """End, after a read that is still under way."""
        await asyncio.to_thread(self._close)

    def _read(self, start: int, end: int) -> Recalled:
        with self._lock:
            if start != self._position:
                self._ahead.clear()
                self._consumer.assign([TopicPartition(self._topic, self._partition, start)])
                self._position = start
            if not self._ahead:
                self._ahead.extend(self._consumer.consume(PIECE_MESSAGES_MAX, _WAIT_S))
            messages: list[Message] = []
            size = 0
            while self._ahead and size < PIECE_BYTES_MAX and self._position < end:
                if self._goes_on(self._ahead[0], end):
                    messages.append(self._ahead[0])
                    size += len(self._ahead[0])
                elif self._position == end:
                    break
                self._ahead.popleft()
            return Recalled(start, messages, self._position)

    def _goes_on(self, message: Message, end: int) -> bool:
        """Move the position to or over the next message; whether the message is part of the piece."""
        error = message.error()
        if error is None:
            offset = offset_of(message)
            self._position = min(offset + 1, end)
            return offset < end
        if error.code() == _PARTITION_EOF:
            # Beyond the markers and aborted messages at the end, which are never delivered.
            self._position = max(self._position, min(offset_of(message), end))
        elif error.code() == _AUTO_OFFSET_RESET:
            raise RecallGap(self._topic, self._partition, self._position)
        elif error.code() not in PASSING:
            raise KafkaException(error)
        return False

    def _close(self) -> None:
        with self._lock:
            self._consumer.close()
