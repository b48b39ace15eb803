"""Does a text that people read hold somebody's phone number?

Only the numbers of the intents count, in full or as their last ten digits; any other run of digits may be an offset.
Memory: 24 bytes a number, twice.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from streams.audit.table import Table, hash_of

# Digits that stand alone; parts of a UUID or of a hash do not.
_NUMBER: Final = re.compile(r"(?<![0-9A-Za-z-])\+?([0-9]{10,15})(?![0-9A-Za-z-])")
_NATIONAL_DIGITS: Final = 10


class Leaks:
    """Knows numbers, and finds them again."""

    def __init__(self) -> None:
        self._known = Table()

    def know(self, number: str) -> None:
        """A number that nobody should read."""
        self._known.add(hash_of(number), 0)
        self._known.add(hash_of(number[-_NATIONAL_DIGITS:]), 0)

    def lines(self, text: Iterable[str]) -> Iterator[int]:
        """The lines of a text, counted from 1, that hold a known number."""
        for number, line in enumerate(text, 1):
            if any(self._known.get(hash_of(digits)) >= 0 for digits in _NUMBER.findall(line)):
                yield number
