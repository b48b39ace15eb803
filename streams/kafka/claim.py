"""A partition that the group gave to this worker, from the assignment to the end of its lease.

The poll thread and the main loop share claims. What must stay true: each field has one writer. ``current`` goes from
true to false once, in the poll thread, before anything else happens on a revocation.
"""

import enum
import threading
from dataclasses import dataclass, field

from streams.kafka.chunks import Cutter
from streams.kafka.lease import Chunk, Lease
from streams.kafka.transport_options import Marks


class Hold(enum.Enum):
    """Why a partition is not read at the moment. It is read while nobody holds it. ``STOPPED`` is never released."""

    BACKLOG = "backlog"
    APPLICATION = "application"
    STOPPED = "stopped"


class Backlog:
    """Records and bytes that were handed over and not yet taken by the agent. Used by both threads."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._lock = threading.Lock()
        self._records = 0
        self._bytes = 0
        self._sizes: dict[int, int] = {}
        self._full = False

    def add(self, chunk: Chunk, size: int) -> bool:
        """Count ``chunk`` of ``size`` bytes as handed over. True if reading must stop now."""
        with self._lock:
            self._records += len(chunk.messages)
            self._bytes += size
            self._sizes[chunk.start] = size
            marks = self._marks
            became_full = not self._full and (self._records >= marks.records_high or self._bytes >= marks.bytes_high)
            self._full = self._full or became_full
            return became_full

    def take(self, chunk: Chunk) -> bool:
        """Count ``chunk`` as taken. True if reading may go on now."""
        with self._lock:
            self._records -= len(chunk.messages)
            self._bytes -= self._sizes.pop(chunk.start)
            marks = self._marks
            drained = self._full and self._records <= marks.records_low and self._bytes <= marks.bytes_low
            self._full = self._full and not drained
            return drained


@dataclass(eq=False, slots=True)
class Claim:
    """One assignment of one partition. ``lease`` exists once it is known where reading starts.

    ``cutter`` exists while the client reads the partition. ``holds`` and ``hindered`` (the client reports that it is
    not let, and tries again) belong to the poll thread.
    """

    topic: str
    partition: int
    number: int
    assigned_at_s: float
    backlog: Backlog
    current: bool = True
    lease: Lease | None = None
    cutter: Cutter | None = None
    holds: set[Hold] = field(default_factory=set)
    hindered: bool = False

    def end(self) -> None:
        """Nothing new may begin for this partition. Poll thread."""
        self.current = False
        if self.lease is not None:
            self.lease.alive = False

    def lose(self) -> None:
        """Nothing may be committed for this partition. Poll thread."""
        self.end()
        if self.lease is not None:
            self.lease.lost = True

    def settle(self, lease: Lease) -> None:
        """Attach the lease. Main loop; the partition may be ending at this very moment in the poll thread."""
        self.lease = lease
        if not self.current:
            lease.alive = False
            lease.lost = True
