"""Ends the process when a call into the client library does not come back.

Transaction calls of librdkafka can hang beyond their own timeout after a coordinator moved
(https://github.com/confluentinc/librdkafka/issues/5456 and /5511); the thread inside cannot be interrupted, so the
process goes and its supervisor starts it again. What must stay true: a call that returns within the limit never ends
the process, and a watched thread does nothing between calls that could take longer.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Watchdog:
    """Watches one thread's calls. ``expired`` gets the name of a call that takes longer than ``limit_s``, once."""

    def __init__(self, limit_s: float, expired: Callable[[str], None]) -> None:
        self._limit_s = limit_s
        self._expired = expired
        self._running: tuple[str, float] | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="callstream-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()

    @contextmanager
    def watch(self, name: str) -> Iterator[None]:
        """Watch the call inside the ``with``."""
        self._running = (name, time.monotonic())
        try:
            yield
        finally:
            self._running = None

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self._limit_s / 4)):
            running = self._running
            if running is not None and time.monotonic() - running[1] > self._limit_s:
                self._expired(running[0])
                return
