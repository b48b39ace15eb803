"""Cutting what a lease reads into chunks. Pure.

What must stay true: chunks of one lease are contiguous, and reading never goes back. Both are checked here for every
message: that check is what finds a client that delivers a partition from its start a second time.
"""

from collections.abc import Sequence

from confluent_kafka import Message

from streams.kafka.lease import Chunk, Lease


class OffsetWentBackError(Exception):
    """The client delivered an offset below the position of the lease."""


class Cutter:
    """Cuts the messages of one lease into chunks of at most ``records_max`` messages and about ``bytes_max`` bytes.

    Bytes are those of keys and values. A message that is larger by itself makes a chunk of its own.
    ``position`` is the offset after everything that was cut.
    """

    def __init__(self, lease: Lease, *, records_max: int, bytes_max: int) -> None:
        self.position = lease.start_offset
        self._lease = lease
        self._records_max = records_max
        self._bytes_max = bytes_max

    def cut(self, messages: Sequence[Message]) -> list[tuple[Chunk, int]]:
        """Cut consecutive ``messages`` of the partition, end-of-partition marks among them, leaving no remainder.

        With each chunk comes its size in bytes.

        An end-of-partition mark beyond the last message moves the chunk's ``next`` behind transaction markers, in an
        empty chunk if there is no message before it. A mark at the position says nothing new.

        Raises:
            OffsetWentBackError: an offset is below the position.
        """
        chunks: list[tuple[Chunk, int]] = []
        taken: list[Message] = []
        size = 0
        start = self.position
        for message in messages:
            if message.error() is not None:
                self.position = max(self.position, self._offset(message))
                continue
            message_size = len(message) + len(message.key() or b"")
            if taken and (len(taken) >= self._records_max or size + message_size > self._bytes_max):
                chunks.append((Chunk(self._lease, taken, start, self.position), size))
                taken, size, start = [], 0, self.position
            offset = self._offset(message)
            if offset < self.position:
                where = f"{self._lease.topic}/{self._lease.partition}"
                raise OffsetWentBackError(f"{where} delivered offset {offset} after position {self.position}")
            self.position = offset + 1
            taken.append(message)
            size += message_size
        if self.position > start:
            chunks.append((Chunk(self._lease, taken, start, self.position), size))
        return chunks

    @staticmethod
    def _offset(message: Message) -> int:
        offset = message.offset()
        assert offset is not None, "a message that was read has an offset"
        return offset
