"""Units of work waiting for their transaction: one FIFO per lease, taken whole.

Pure: no clock, no threads, no Kafka. What must stay true: units of one lease leave in the order in which they came, so
a committed offset never runs ahead of what is queued before it; and every lease among the units taken has an offset,
changed or not, because the broker checks our membership only for partitions whose offsets come along.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from streams.kafka.lease import Lease
from streams.kafka.message import OutMessage

# A unit's share of memory beyond its values: keys, headers, the objects themselves.
MESSAGE_OVERHEAD_BYTES = 100

W = TypeVar("W")


@dataclass(eq=False, slots=True)
class Unit(Generic[W]):
    """Messages to produce for ``lease``, and the offset that is valid once they are durable.

    ``next_offset`` ``None`` leaves the offset where the unit before it put it. ``offset`` is what the unit's
    transaction commits for the lease, known once the unit is queued. ``waiter`` is the caller's. ``step`` says for
    failpoints what the unit is of: ``name`` or ``name/which``.
    """

    lease: Lease
    messages: Sequence[OutMessage]
    next_offset: int | None
    waiter: W
    step: str = ""
    size_bytes: int = field(init=False)
    offset: int = field(init=False)

    def __post_init__(self) -> None:
        values = sum([len(message.value) for message in self.messages if message.value is not None])
        self.size_bytes = values + MESSAGE_OVERHEAD_BYTES * len(self.messages)


@dataclass(slots=True)
class _Fifo(Generic[W]):
    offset: int
    units: deque[Unit[W]] = field(default_factory=deque)


def offsets_of(units: Iterable[Unit[W]]) -> dict[Lease, int]:
    """Offset to commit for every lease among ``units``, which are in the order in which they were taken."""
    return {unit.lease: unit.offset for unit in units}


class UnitQueue(Generic[W]):
    """FIFOs of units by lease. A unit counts in :attr:`units` and :attr:`size_bytes` until it is settled."""

    def __init__(self) -> None:
        self._fifos: dict[Lease, _Fifo[W]] = {}
        self._first: Lease | None = None
        self.units = 0
        self.size_bytes = 0

    def __bool__(self) -> bool:
        return any(fifo.units for fifo in self._fifos.values())

    def put(self, unit: Unit[W]) -> None:
        """Queue ``unit`` behind the others of its lease.

        Raises:
            ValueError: its offset lies before the one submitted last for this lease, or before the lease's start.
        """
        fifo = self._fifos.get(unit.lease)
        if fifo is None:
            fifo = self._fifos[unit.lease] = _Fifo(unit.lease.start_offset)
        if unit.next_offset is not None:
            if unit.next_offset < fifo.offset:
                where = f"{unit.lease.topic}[{unit.lease.partition}]"
                raise ValueError(f"offset {unit.next_offset} of {where} lies before {fifo.offset}")
            fifo.offset = unit.next_offset
        unit.offset = fifo.offset
        fifo.units.append(unit)
        self.units += 1
        self.size_bytes += unit.size_bytes

    def take(self, messages_max: int, bytes_max: int) -> list[Unit[W]]:
        """Take whole units for one transaction, in turn from every lease, at least one if any waits.

        A unit beyond the bounds is taken alone. A lease whose next unit did not fit comes first the next time.
        """
        taken: list[Unit[W]] = []
        messages = size_bytes = 0
        waiting = deque(fifo.units for fifo in self._in_turn() if fifo.units)
        self._first = None
        while waiting:
            units = waiting.popleft()
            unit = units[0]
            messages_then, bytes_then = messages + len(unit.messages), size_bytes + unit.size_bytes
            if taken and (messages_then > messages_max or bytes_then > bytes_max):
                self._first = self._first or unit.lease
                continue
            messages, size_bytes = messages_then, bytes_then
            taken.append(units.popleft())
            if units:
                waiting.append(units)
        return taken

    def settle(self, units: Iterable[Unit[W]]) -> None:
        """Count ``units``, which were taken, as done."""
        for unit in units:
            self.units -= 1
            self.size_bytes -= unit.size_bytes

    def drop_lost(self) -> list[Unit[W]]:
        """Forget the leases that are lost; returns their units that still waited, which count as settled."""
        dropped: list[Unit[W]] = []
        for lease in [lease for lease in self._fifos if lease.lost]:
            dropped += self._fifos.pop(lease).units
        self.settle(dropped)
        return dropped

    def drop_all(self) -> list[Unit[W]]:
        """Take everything that waits, in order, without bounds, and count it as settled."""
        dropped = [unit for fifo in self._fifos.values() for unit in fifo.units]
        self._fifos.clear()
        self.settle(dropped)
        return dropped

    def _in_turn(self) -> list[_Fifo[W]]:
        leases = list(self._fifos)
        at = leases.index(self._first) if self._first in self._fifos else 0
        return [self._fifos[lease] for lease in leases[at:] + leases[:at]]
