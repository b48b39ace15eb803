"""How a worker ends: what it gave up, told in one line, and within a bound.

What must stay true: a process that was told to stop is gone before its supervisor would kill it, whatever hangs; and
its last line says what became of the work it had, also where it had to end before everything was settled.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from streams.contracts.exits import ExitCode

# Above the 35 s that a revocation may take, with time to close; below the 90 s of grace that a supervisor should give.
STOP_S = 70.0


@dataclass(slots=True)
class GivenUp:
    """What became of the work of partitions that were given up.

    ``sent``: requests that were on their way and whose answers are recorded. ``handed_back``: intents that wait for the
    next owner, unsent. ``batches_handed_back``: open batches, for which the next owner asks or which it sends.
    ``unknown``: requests that were on their way and whose answers nobody has recorded.
    """

    sent: int = 0
    handed_back: int = 0
    batches_handed_back: int = 0
    unknown: int = 0

    def __iadd__(self, other: "GivenUp") -> Self:
        self.sent += other.sent
        self.handed_back += other.handed_back
        self.batches_handed_back += other.batches_handed_back
        self.unknown += other.unknown
        return self


def bound_the_end(end: Callable[[int, str], None], stop_s: float = STOP_S) -> threading.Timer:
    """Have ``end`` called, in a thread of its own, with an exit code and a reason, if the process lives on that long.

    It also covers what comes after our last line: the interpreter waits for threads that may hang in a client library.
    """
    timer = threading.Timer(stop_s, end, (ExitCode.CRASH, f"not at its end {stop_s:g} s after it began to stop"))
    timer.daemon = True
    timer.name = "callstream-stop"
    timer.start()
    return timer
