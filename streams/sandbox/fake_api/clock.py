"""The time as the fake sees it: injected, so that tests move an hour in no time."""

import time
from datetime import UTC, datetime
from typing import NamedTuple, Protocol


class Moment(NamedTuple):
    """One point in time: epoch seconds for people and records, monotonic seconds for every limit."""

    wall_s: float
    mono_s: float

    @property
    def wall_ms(self) -> int:
        """Epoch milliseconds."""
        return int(self.wall_s * 1000)

    @property
    def stamp(self) -> str:
        """The wall time as the API writes it: a fraction of two digits, ``Z``."""
        return datetime.fromtimestamp(self.wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-4] + "Z"


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> Moment:
        """Return the present moment."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> Moment:
        """Return the present moment."""
        return Moment(time.time(), time.monotonic())
