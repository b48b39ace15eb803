"""The ledger: one line for every request, written before its answer leaves, so that anybody can audit a run.

NDJSON, append-only. It holds the numbers of the records in clear: joining what was applied to what was intended is its
purpose, so it belongs to test data alone. What must stay true: a line is in the kernel before the client can know the
answer, so that killing the client at any moment loses nothing; a token is only ever an ordinal.
"""

import os
from pathlib import Path
from typing import Any

import orjson


class LedgerError(OSError):
    """The ledger cannot be opened or written."""


class Ledger:
    """Appends to ``path``; without one it writes nothing. Raises :class:`LedgerError` where it cannot."""

    def __init__(self, path: Path | None) -> None:
        self._file: int | None = None
        if path is not None:
            try:
                self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise LedgerError(error.errno, error.strerror, error.filename) from None

    def write(self, entry: dict[str, Any]) -> None:
        """Append one line."""
        if self._file is None:
            return
        line = memoryview(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as error:
            raise LedgerError(error.errno, error.strerror) from None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
