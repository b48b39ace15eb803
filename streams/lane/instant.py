"""The time as a lane is told it. No module of this package reads a clock."""

from typing import NamedTuple


class Instant(NamedTuple):
    """One moment on two clocks.

    ``wall_ms`` (epoch milliseconds) compares with the times in intents and in the journal. ``boot_s`` (CLOCK_BOOTTIME)
    measures waiting: it never jumps, and goes on while the machine sleeps.
    """

    wall_ms: int
    boot_s: float

    def boot_of(self, wall_ms: float) -> float:
        """The ``boot_s`` of a wall-clock time, as far as the two clocks have agreed since."""
        return self.boot_s + (wall_ms - self.wall_ms) / 1000

    def wall_of(self, boot_s: float) -> int:
        """The wall-clock time of a ``boot_s``, in epoch milliseconds."""
        return self.wall_ms + round((boot_s - self.boot_s) * 1000)
