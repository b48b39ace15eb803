"""All intents of the range, six bytes each: what is known of it (:mod:`streams.audit.state`) and its account.

They stand in two arrays for each partition, indexed by offset, so ten million of them take 60 MB. An intent is named by
one number, its key: partition and offset. What must stay true: nothing here grows with what is read, apart from the
names of accounts.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

from streams.audit.state import ACCOUNTS_DIFFER

_OFFSET_BITS: Final = 48
_OFFSETS: Final = (1 << _OFFSET_BITS) - 1
# More accounts than any deployment has; invalid intents may name any number of them, and those beyond count as none.
_ACCOUNTS_MAX: Final = 60_000
NO_ACCOUNT: Final = 0


class Source(NamedTuple):
    """Partition and offset of an intent."""

    partition: int
    offset: int


def key_of(partition: int, offset: int) -> int:
    """The key of an intent."""
    return partition << _OFFSET_BITS | offset


def source_of(key: int) -> Source:
    """The inverse of :func:`key_of`."""
    return Source(key >> _OFFSET_BITS, key & _OFFSETS)


class Names:
    """Numbers for account ids; 0 is no account."""

    def __init__(self) -> None:
        self.all: list[str | None] = [None]
        self._numbers: dict[str | None, int] = {None: NO_ACCOUNT}

    def number(self, name: str | None) -> int:
        """The number of an account, a new one if it has none yet."""
        found = self._numbers.get(name)
        if found is None:
            if len(self.all) >= _ACCOUNTS_MAX:
                return NO_ACCOUNT
            found = self._numbers[name] = len(self.all)
            self.all.append(name)
        return found


class PartitionBook:
    """The intents of one partition from offset ``base`` to before ``end``. ``first`` is the ordinal of the first."""

    def __init__(self, partition: int, base: int, end: int, first: int) -> None:
        count = max(0, end - base)
        self.partition = partition
        self.base = base
        self.end = base + count
        self.first = first
        self.states = array("I", bytes(4 * count))
        self.accounts = array("H", bytes(2 * count))

    def __len__(self) -> int:
        return len(self.states)

    def name_account(self, index: int, account: int) -> None:
        """An artefact says whose intent it is."""
        known = self.accounts[index]
        if known == NO_ACCOUNT:
            self.accounts[index] = account
        elif account not in (NO_ACCOUNT, known):
            self.states[index] |= ACCOUNTS_DIFFER


class Intents:
    """The intents of all partitions. ``ranges`` are the offsets, first and behind the last, of each."""

    def __init__(self, ranges: dict[int, tuple[int, int]]) -> None:
        self.names = Names()
        self.partitions: dict[int, PartitionBook] = {}
        first = 0
        for partition, (base, end) in sorted(ranges.items()):
            book = self.partitions[partition] = PartitionBook(partition, base, end, first)
            first += len(book)
        self.count = first
        # An empty partition has the first ordinal of the next one.
        self._in_order = [book for book in self.partitions.values() if len(book)]
        self._firsts = [book.first for book in self._in_order]

    def find(self, key: int) -> tuple[PartitionBook, int] | None:
        """Where the bits of an intent stand; ``None`` where it is out of range."""
        return self.at(key >> _OFFSET_BITS, key & _OFFSETS)

    def at(self, partition: int, offset: int) -> "tuple[PartitionBook, int] | None":
        """As :meth:`find`, by partition and offset."""
        book = self.partitions.get(partition)
        if book is None or not book.base <= offset < book.end:
            return None
        return book, offset - book.base

    def mark(self, key: int, bits: int) -> None:
        """Set bits of an intent, if it is in range."""
        if found := self.find(key):
            found[0].states[found[1]] |= bits

    def of_ordinal(self, ordinal: int) -> tuple[PartitionBook, int]:
        """The intent that is the so-many-th of all."""
        book = self._in_order[bisect_right(self._firsts, ordinal) - 1]
        return book, ordinal - book.first

    def books(self) -> Iterator[PartitionBook]:
        """All partitions."""
        yield from self.partitions.values()
