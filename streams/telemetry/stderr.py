"""Where log lines go: standard error, without ever waiting long for who reads it.

What must stay true: a pipe that nobody empties costs log lines, never the event loop that logs. What was dropped is
counted, and told with the first line that gets through again.
"""

import logging
import os
import select
import sys
from typing import Final, TextIO

# A reader that is merely slow is waited for so long; once a line was dropped, nobody waits until one gets through.
PATIENCE_MS: Final = 200
# A pipe that can be written to takes this much at once, and another thread's or process's line is not torn by it.
_PIECE_BYTES: Final = select.PIPE_BUF


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what standard error is now: tests and terminals replace it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self._dropped = 0
        self._torn = False

    @property
    def stream(self) -> TextIO:  # type: ignore[override] # the base class has an attribute
        """Standard error as it is now."""
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or count it as dropped."""
        try:
            if self._dropped and self._write(self._dropped_lines()):
                self._dropped = 0
            if self._dropped or not self._write(record):
                self._dropped += 1
        except Exception:  # noqa: BLE001 - as every handler: whatever it is, logging must not end the worker
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        """A log line that cannot be written must not end the worker, nor print its arguments unmasked."""

    def _dropped_lines(self) -> logging.LogRecord:
        facts = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "msg": "log_lines_dropped"}
        return logging.makeLogRecord({**facts, "dropped": self._dropped})

    def _write(self, record: logging.LogRecord) -> bool:
        text = f"{self.format(record)}{self.terminator}"
        try:
            descriptor = self.stream.fileno()
        except (OSError, ValueError):
            # Standard error is no file here, so nothing can block.
            self.stream.write(text)
            return True
        # What is left of a line that was cut by a full pipe must not run into the next.
        data = memoryview((f"\n{text}" if self._torn else text).encode(errors="backslashreplace"))
        written = _written(descriptor, data, 0 if self._dropped else PATIENCE_MS)
        self._torn = (self._torn and not written) or 0 < written < len(data)
        return written == len(data)


def _written(descriptor: int, data: memoryview, patience_ms: int) -> int:
    """How many bytes could be written while the descriptor takes them within ``patience_ms`` for each piece."""
    ready = select.poll()
    ready.register(descriptor, select.POLLOUT)
    written = 0
    while written < len(data) and ready.poll(patience_ms):
        try:
            written += os.write(descriptor, data[written : written + _PIECE_BYTES])
        except BlockingIOError:
            # Somebody has made the pipe non-blocking, and somebody else was quicker.
            break
    return written
