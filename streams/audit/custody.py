"""Where the intents are that are on their way: untaken in a parcel, in an open batch, or carried.

Folds the journal as it is read, and keeps the parcels that are not wholly taken; :meth:`Custody.mark` then writes into
the intents who holds them. What must stay true: a place is taken exactly if its account's cursor says so, and an
account without a cursor has taken nothing. Memory: the open batches as packed as the journal has them (30 KB each), and
eight bytes for each intent in a parcel that is not wholly taken.
"""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.audit.intents import Intents, key_of
from streams.audit.state import BATCH, CARRY, CUSTODY, FLAGGED_BATCH, HELD, HELD_TWICE, PASSED, UNTAKEN
from streams.contracts.errors import UnreadableMessage
from streams.contracts.journal import (
    BatchEntry,
    BatchState,
    CursorEntry,
    Held,
    JournalKey,
    Packer,
    Place,
    ResetEntry,
    decode_entry,
)

_PACKED: Final = frozenset({"intents", "carry"})


class Waiting(NamedTuple):
    """A parcel with at least one untaken place: its coordinates, and the keys of its intents."""

    account_id: str
    partition: int
    offset: int
    keys: "array[int]"


@dataclass(slots=True)
class Custody:
    """``topic`` is that of the intents. ``offsets`` are the group's committed offsets of the parcels' partitions."""

    topic: str
    offsets: dict[int, int] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    _packer: Packer = field(default_factory=Packer)
    _cursors: dict[str, CursorEntry] = field(default_factory=dict)
    _batches: dict[str, BatchEntry] = field(default_factory=dict)
    _packed: dict[str, bytes] = field(default_factory=dict)
    _resets: dict[str, ResetEntry] = field(default_factory=dict)
    _waiting: list[Waiting] = field(default_factory=list)
    _marked: "array[int]" = field(default_factory=lambda: array("Q"))

    # -- what is read

    def journal(self, where: str, key: bytes | None, value: bytes | None) -> None:
        """The next message of a partition of the journal; ``where`` names it."""
        parsed = JournalKey.parse(key)
        name = str(parsed)
        if value is None:
            self._packed.pop(name, None)
            if parsed.kind == "batch":
                self._batches.pop(parsed.name, None)
            elif parsed.kind == "cursor":
                self._cursors.pop(parsed.name, None)
        elif parsed.kind in _PACKED:
            self._packed[name] = value
        else:
            try:
                entry = decode_entry(parsed, value)
            except UnreadableMessage as error:
                self.damaged.append(f"{where}: {error}")
                return
            if isinstance(entry, BatchEntry):
                self._batches[parsed.name] = entry
            elif isinstance(entry, CursorEntry):
                self._cursors[parsed.name] = entry
            elif isinstance(entry, ResetEntry) and entry.topic == self.topic:
                self._resets[parsed.name] = entry

    def parcel(self, account_id: str, partition: int, offset: int, keys: "array[int]") -> None:
        """A parcel; ``keys`` are those of its intents, in order."""
        if self._untaken(account_id, offset, len(keys)):
            self._waiting.append(Waiting(account_id, partition, offset, keys))

    # -- what follows from it

    def mark(self, intents: Intents) -> None:
        """Work out anew who holds which intent, and set the bits of :data:`~streams.audit.state.CUSTODY`."""
        for key in self._marked:
            if found := intents.find(key):
                found[0].states[found[1]] &= ~CUSTODY
        self._marked = array("Q")
        self._mark_parcels(intents)
        for ref, entry in self._batches.items():
            if entry.state is not BatchState.SPLIT:
                bits = BATCH | FLAGGED_BATCH if entry.possible_duplicate else BATCH
                self._hold(intents, self._batch(ref, entry), bits, entry.account_id)
        for name, value in self._packed.items():
            if name.startswith("carry/"):
                self._hold(intents, self._unpacked(name, value), CARRY, name.split("/")[1])

    def skipped(self, partition: int) -> list[tuple[int, int]]:
        """The offsets ``[start, end)`` of the intents that an operator decided not to read, in the present topic."""
        if not self._resets:
            return []
        # A topic that was made anew is not read before somebody has decided about it.
        present = max(self._resets.values(), key=lambda reset: reset.at).topic_id
        gaps = [gap for reset in self._resets.values() if reset.partition == partition for gap in reset.gaps]
        return [(gap.start, gap.end) for gap in gaps if gap.topic_id == present and gap.end is not None]

    def states(self) -> Counter[str]:
        """How many open batches are in which state; ``suspect`` are unsent parts of a batch that was refused."""
        return Counter(_state(entry) for entry in self._batches.values())

    def _mark_parcels(self, intents: Intents) -> None:
        still: list[Waiting] = []
        for parcel in self._waiting:
            cursor = self._cursors.get(parcel.account_id)
            untaken = self._untaken(parcel.account_id, parcel.offset, len(parcel.keys))
            passed = parcel.offset < self.offsets.get(parcel.partition, 0) and not (cursor and cursor.behind)
            for index in untaken:
                self._set(intents, parcel.keys[index], UNTAKEN | PASSED if passed else UNTAKEN)
            if untaken:
                still.append(parcel)
        self._waiting = still

    def _batch(self, ref: str, entry: BatchEntry) -> Iterator[Held]:
        packed = self._packed.get(f"intents/{ref}")
        if packed is None:
            self._note(f"batch {ref} has no intents in the journal")
            return
        settled = frozenset(entry.settled)
        for index, held in enumerate(self._unpacked(f"intents/{ref}", packed)):
            if index not in settled:
                yield held

    def _unpacked(self, name: str, value: bytes) -> Sequence[Held]:
        try:
            return self._packer.unpack(value)
        except UnreadableMessage as error:
            self._note(f"{name}: {error}")
            return ()

    def _note(self, damage: str) -> None:
        if damage not in self.damaged:
            self.damaged.append(damage)

    def _hold(self, intents: Intents, held: Iterator[Held] | Sequence[Held], bits: int, account_id: str) -> None:
        account = intents.names.number(account_id)
        for one in held:
            if one.source_topic == self.topic:
                key = key_of(one.source_partition, one.row.source_offset)
                self._set(intents, key, bits)
                if found := intents.find(key):
                    found[0].name_account(found[1], account)

    def _set(self, intents: Intents, key: int, bits: int) -> None:
        found = intents.find(key)
        if found is None:
            return
        book, index = found
        if book.states[index] & HELD:
            bits |= HELD_TWICE
        book.states[index] |= bits
        self._marked.append(key)

    def _untaken(self, account_id: str, offset: int, rows: int) -> Sequence[int]:
        """Which places of a parcel the cursor of its account has not taken."""
        cursor = self._cursors.get(account_id)
        if cursor is None:
            return range(rows)
        if cursor.low >= Place(offset, rows):
            return ()
        first = cursor.low.index if cursor.low.offset == offset else 0
        return [index for index in range(first, rows) if not _in_run(cursor, Place(offset, index))]


def _state(entry: BatchEntry) -> str:
    suspect = entry.state is BatchState.UNSENT and entry.part_of is not None
    return "suspect" if suspect else entry.state.value


def _in_run(cursor: CursorEntry, place: Place) -> bool:
    at = bisect_right(cursor.taken, place, key=lambda run: run[0])
    return at > 0 and place < cursor.taken[at - 1][1]
