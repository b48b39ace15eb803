"""A map from 64-bit keys to 32-bit numbers in 12 bytes an entry, where a dict takes ten times as much.

Open addressing with linear probing in two arrays. Keys are hashes: two things with one hash count as the same, which
among ten million happens with a chance of one in 400,000.
"""

from array import array
from typing import Any

_KEY_MASK = (1 << 64) - 1
_FEWEST_SLOTS = 1024


def hash_of(what: Any) -> int:
    """The key of a hashable thing; the same within one process only. Never 0."""
    return hash(what) & _KEY_MASK or 1


class Table:
    """The map. ``expected`` entries fit without growing."""

    def __init__(self, expected: int = 0) -> None:
        slots = _FEWEST_SLOTS
        while slots * 2 < expected * 3:
            slots *= 2
        self._clear(slots)

    def __len__(self) -> int:
        return self._used

    def get(self, key: int) -> int:
        """The number of a key, or -1."""
        keys, mask, slot = self._keys, self._mask, key & self._mask
        while (found := keys[slot]) != key:
            if not found:
                return -1
            slot = (slot + 1) & mask
        return self._values[slot]

    def add(self, key: int, value: int) -> int:
        """Give a key its number, unless it has one; return the one it has."""
        keys, mask, slot = self._keys, self._mask, key & self._mask
        while (found := keys[slot]) != key:
            if not found:
                keys[slot], self._values[slot] = key, value
                self._used += 1
                if self._used * 3 > (mask + 1) * 2:
                    self._grow()
                return value
            slot = (slot + 1) & mask
        return self._values[slot]

    def _clear(self, slots: int) -> None:
        self._keys = array("Q", bytes(8 * slots))
        self._values = array("I", bytes(4 * slots))
        self._mask = slots - 1
        self._used = 0

    def _grow(self) -> None:
        keys, values = self._keys, self._values
        self._clear(2 * len(keys))
        for key, value in zip(keys, values, strict=True):
            if key:
                self.add(key, value)
