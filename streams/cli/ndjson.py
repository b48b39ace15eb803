"""Intents in a file, one per line, read with bounded memory.

Empty lines are skipped, as editors and concatenation leave them, but they count, so that numbers are those of an
editor. What must stay true: no line is held in memory beyond the size a message may have.
"""

from collections.abc import Iterator
from typing import BinaryIO

from streams.intake.reasons import VALUE_BYTES_MAX


def read_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines that are not empty, with their numbers from 1; ``None`` for one that no message can hold."""
    bytes_max = VALUE_BYTES_MAX + len(b"\r\n")
    number = 0
    while line := stream.readline(bytes_max):
        number += 1
        if not line.endswith(b"\n") and _skip_rest(stream, bytes_max):
            yield number, None
        elif line.strip():
            yield number, line.rstrip(b"\r\n")


def _skip_rest(stream: BinaryIO, bytes_max: int) -> bool:
    """Read to the end of a line without keeping it; tell whether there was anything."""
    skipped = rest = stream.readline(bytes_max)
    while rest and not rest.endswith(b"\n"):
        rest = stream.readline(bytes_max)
    return bool(skipped)
