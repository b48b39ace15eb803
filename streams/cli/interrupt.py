"""Ctrl-C and SIGTERM as a flag that a loop looks at, so that what was begun is finished before the command ends."""

import signal
from types import FrameType
from typing import Any, Self


class Interrupt:
    """While its ``with`` block runs, the first SIGINT or SIGTERM sets ``signal``; the next one acts as ever.

    Signals reach only the main thread, so the block has to run there.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._caught)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def by_user(self) -> bool:
        """Whether somebody pressed Ctrl-C, as opposed to a supervisor that asked to end."""
        return self.signal == signal.SIGINT

    def _caught(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
