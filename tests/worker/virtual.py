"""An event loop whose clock moves by itself when nobody has anything to do, and the worker's clocks bound to it.

A test that waits a minute takes no time, and one that waits for something that never comes fails at once.
"""

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from streams.worker import clock

T = TypeVar("T")

START_S = 1_000.0
START_MS = 1_700_000_000_000


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = START_S

    def select(self, timeout: float | None = None) -> Any:
        # Only the loop's own wake-up pipe is registered: nothing outside can make anything happen.
        assert timeout is not None, "everybody waits for something that will never come"
        self.now_s += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s


class Clocks:
    """Stands in for the module ``time`` where the worker reads its clocks."""

    CLOCK_BOOTTIME = time.CLOCK_BOOTTIME

    def time_ns(self) -> int:
        return round(START_MS + (self._now_s() - START_S) * 1000) * 1_000_000

    def clock_gettime(self, _clock: int) -> float:
        return self._now_s()

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


Play = Callable[[Callable[[], Coroutine[Any, Any, T]]], T]


@pytest.fixture
def play(monkeypatch):
    """``play(story)`` runs a coroutine function to its end, on virtual time."""
    monkeypatch.setattr(clock, "time", Clocks())

    def run(story):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(story())

    return run


async def settled() -> None:
    """Let everything happen that can happen without time passing."""
    for _ in range(50):
        await asyncio.sleep(0)
