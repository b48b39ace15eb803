"""The clocks of this machine, read in one place and handed to everything that decides."""

import time

from streams.lane.instant import Instant


def read_clock() -> Instant:
    """The time now, on both clocks."""
    return Instant(time.time_ns() // 1_000_000, boot_s())


def boot_s() -> float:
    """CLOCK_BOOTTIME in seconds: monotonic, and unlike CLOCK_MONOTONIC it goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
