"""No chunk of a lease may be missing between two others.

Faust throws the queues of its agents away when it thinks that partitions have changed. Whatever dropped a chunk: to go
on behind it would commit an offset beyond messages that nobody has seen, so the worker ends and reads them again.
"""

from streams.kafka.lease import Chunk, Lease


class ChunkMissing(Exception):
    """A chunk does not begin where the one before it ended."""

    def __init__(self, chunk: Chunk, expected: int) -> None:
        super().__init__(f"{chunk.lease.topic}[{chunk.lease.partition}]: at {chunk.start}, expected {expected}")


class Contiguous:
    """Remembers how far each live lease has come."""

    def __init__(self) -> None:
        self._next: dict[Lease, int] = {}

    def check(self, chunk: Chunk) -> None:
        """Note the next chunk of its lease.

        Raises:
            ChunkMissing: It is not the next one.
        """
        expected = self._next.get(chunk.lease)
        if expected is None:
            expected = chunk.lease.start_offset
            self._next = {lease: offset for lease, offset in self._next.items() if lease.alive}
        if chunk.start != expected:
            raise ChunkMissing(chunk, expected)
        self._next[chunk.lease] = chunk.next
