"""Which places of an account have been taken into a batch or settled.

What must stay true: everything below ``low`` is taken; a place at or beyond ``low`` is taken exactly if it lies in a
run. A place is taken in the same commit that journals or settles its intent, so after a crash the intents that are
read again are dropped here and no intent is taken twice. A cursor that is ``behind`` says that the account's untaken
places may lie below the partition's offset: whoever comes next has to read from ``low`` on for this account alone.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import cast

from streams.contracts.journal import CursorEntry, Place

# A cursor is written with every batch, so its entry is kept small: where it would have more runs or bytes than this,
# waiting intents at its low end are carried in the journal. Beyond half of the runs the window is emptied in the order
# of places.
RUNS_MAX = 4096
ENTRY_BYTES_MAX = 64 * 1024

Run = tuple[Place, Place]

_ONES = re.compile("1+")


class Cursor:
    """The cursor of one account over the parcels that it has read, and over what its journal entry said before."""

    def __init__(self, entry: CursorEntry | None = None) -> None:
        self._low = entry.low if entry else Place(0, 0)
        self._restored: list[Run] = list(entry.taken) if entry else []
        # Parcels that hold an untaken place, or lie behind one that does: offset → [rows, bits of those taken, time].
        self._parcels: dict[int, list[int]] = {}
        self._last_read = -1
        self._last_read_ms = 0
        self._runs_count = len(self._restored)
        self.behind = entry.behind if entry else False

    def read(self, offset: int, rows: int, recorded_ms: int = 0) -> list[int]:
        """Note a parcel of ``rows`` intents, in order of offsets; return the indices of those not yet taken.

        ``recorded_ms`` is when its first intent was recorded.
        """
        assert offset > self._last_read, "parcels are read once, in order"
        taken = self._restored_bits(offset, rows)
        self._last_read = offset
        self._last_read_ms = recorded_ms
        self._restored = [run for run in self._restored if run[1] > Place(offset, rows)]
        self._parcels[offset] = [rows, taken, recorded_ms]
        self._drop_finished()
        if not taken:
            return list(range(rows))
        return [index for index in range(rows) if not taken >> index & 1]

    def read_to(self, position: int) -> None:
        """All parcels of the account below ``position`` have been read."""
        self._drop_finished()
        self._last_read = max(self._last_read, position - 1)
        self._restored = [run for run in self._restored if run[1] > Place(position, 0)]
        if not self._parcels:
            self._low = max(self._low, Place(position, 0))

    def untaken(self) -> Iterator[tuple[int, int]]:
        """The parcels that were read and hold untaken places, as (offset, how many), in order."""
        for offset, (rows, taken, _) in self._parcels.items():
            if count := rows - taken.bit_count():
                yield offset, count

    @property
    def low(self) -> Place:
        """Everything below is taken."""
        self._drop_finished()
        return self._low

    @property
    def finished(self) -> bool:
        """Whether all that was read is taken."""
        self._drop_finished()
        return not self._parcels

    def first_untaken(self) -> Place | None:
        """The lowest place that was read and not taken."""
        self._drop_finished()
        return self._low if self._parcels else None

    def waits_since_ms(self) -> int:
        """When the first intent was recorded of the lowest parcel with an untaken place, else of the last one read."""
        self._drop_finished()
        return next(iter(self._parcels.values()))[2] if self._parcels else self._last_read_ms

    def take(self, places: Iterable[Place]) -> None:
        """Mark places that were read and not taken as taken."""
        parcels = self._parcels
        for offset, index in places:
            parcel = parcels[offset]
            bit = 1 << index
            assert not parcel[1] & bit, "a place is taken once"
            parcel[1] |= bit

    def entry(self) -> CursorEntry:
        """What to journal."""
        self._drop_finished()
        runs = list(self._runs())
        beyond = Place(self._last_read + 1, 0)
        runs.extend((max(start, beyond), end) for start, end in self._restored if end > beyond)
        self._runs_count = len(runs)
        return CursorEntry(self._low, tuple(runs), self.behind)

    def runs(self) -> int:
        """How many runs the last entry had; see :data:`RUNS_MAX`."""
        return self._runs_count

    def _drop_finished(self) -> None:
        while self._parcels:
            offset = next(iter(self._parcels))
            rows, taken, _ = self._parcels[offset]
            missing = ~taken & ((1 << rows) - 1)
            if missing:
                first = (missing & -missing).bit_length() - 1
                self._low = max(self._low, Place(offset, first))
                return
            self._low = max(self._low, Place(offset, rows))
            del self._parcels[offset]

    def _restored_bits(self, offset: int, rows: int) -> int:
        bits = 0
        if Place(offset, 0) < self._low:
            below = rows if self._low.offset > offset else min(rows, self._low.index)
            bits |= (1 << below) - 1
        # Runs are sorted: those that start behind this parcel cannot reach into it.
        for start, end in self._restored[: bisect_right(self._restored, (Place(offset, rows), Place(offset, rows)))]:
            first = start.index if start.offset == offset else 0
            last = rows if end.offset > offset else min(rows, end.index)
            if end > Place(offset, 0) and first < last:
                bits |= ((1 << last) - 1) & ~((1 << first) - 1)
        return bits

    def _runs(self) -> Iterator[Run]:
        """Runs of taken places behind the first untaken one, in the order of places.

        One is made for every gap with every batch, so they are plain tuples, which compare and are written as places.
        """
        low: tuple[int, int] = self._low
        start: tuple[int, int] | None = None
        end = low
        for offset, (rows, taken, _) in self._parcels.items():
            if start is not None and not taken & 1:
                yield cast("Run", (start, end))
                start = None
            # From here on `start` is the place of a run that goes on across the beginning of this parcel.
            for first, last in _bit_runs(taken):
                end = (offset, last)
                if end > low:
                    start = start or max((offset, first), low)
                    if last < rows:
                        yield cast("Run", (start, end))
                        start = None
        if start is not None:
            yield cast("Run", (start, end))


def _bit_runs(bits: int) -> Iterator[tuple[int, int]]:
    """The runs ``[first, last)`` of set bits, from the lowest."""
    return (run.span() for run in _ONES.finditer(f"{bits:b}"[::-1]))
