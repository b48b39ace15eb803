"""Intents under suspicion, and which of them a second look confirms."""

from array import array
from collections.abc import Iterator


class Suspects:
    """Intents with anomalies: their keys, and what was known of each."""

    def __init__(self) -> None:
        self.keys = array("Q")
        self._codes = array("Q")

    def confirmed(self, before: "Suspects") -> tuple["Suspects", int]:
        """Those that were suspected before with the same bits, and how many were with other bits.

        One that was not suspected before was in order then; it is moving.
        """
        same, changed = Suspects(), 0
        earlier = iter(before)
        key_before, code_before = next(earlier, (-1, 0))
        for key, code in self:
            while 0 <= key_before < key:
                key_before, code_before = next(earlier, (-1, 0))
            if key == key_before and code == code_before:
                same.add(key, code)
            elif key == key_before:
                changed += 1
        return same, changed

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.keys, self._codes, strict=True)

    def add(self, key: int, code: int) -> None:
        """One more; keys only grow."""
        self.keys.append(key)
        self._codes.append(code)
