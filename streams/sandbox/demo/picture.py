"""The demo at one moment, as plain values: what every screen shows, and nothing that knows how."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from streams.sandbox.demo.requests import RecentBatch

# Outcomes come in bursts of whole batches, so a rate is taken over several of them.
_RATE_S: Final = 10


class Phase(StrEnum):
    """What is going on."""

    STARTING = "starting"
    DIALING = "dialing"
    HELD_BACK = "held back"
    SETTLING = "settling"
    DRAINING = "draining"
    DONE = "done"


class AccountRow(NamedTuple):
    """One account: intents waiting for a batch, in batches without a final status, and final, by status.

    ``slots_used`` of ``slots`` requests a minute are spent.
    """

    account_id: str
    waiting: int
    open: int
    batches: int
    slots_used: int
    slots: int
    final: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Picture:
    """All that a screen may show. Counts are intents unless they say otherwise; ``eta_s`` is ``None`` if unknown.

    ``intake`` and ``settled`` are intents per second, oldest first, one value a second.
    """

    phase: Phase
    elapsed_s: float
    duration_s: float
    published: int
    unread: int
    waiting: int
    accepted: int
    finals: int
    final: Mapping[str, int]
    dead_letters: Mapping[str, int]
    accounts: tuple[AccountRow, ...]
    recent: tuple[RecentBatch, ...]
    intake: tuple[int, ...]
    settled: tuple[int, ...]
    batches: int
    batch_records_max: int
    requests: Mapping[str, int]
    over_limit: int
    http_429: int
    eta_s: float | None
    metrics_url: str

    @property
    def pending(self) -> int:
        """Intents that are not final yet."""
        return max(0, self.published - self.finals)


class Pulse:
    """Per-second increments of a count that only grows, for the last ``seconds``."""

    def __init__(self, seconds: int) -> None:
        self._closed: deque[int] = deque(maxlen=seconds)
        self._second = 0
        self._count_then = 0
        self._count = 0

    def take(self, elapsed_s: float, count: int) -> None:
        """Take the count at ``elapsed_s`` since the start."""
        while int(elapsed_s) > self._second:
            self._closed.append(self._count - self._count_then)
            self._count_then = self._count
            self._second += 1
        self._count = count

    @property
    def values(self) -> tuple[int, ...]:
        """Increments of the full seconds, oldest first."""
        return tuple(self._closed)

    def rate(self) -> float:
        """Return the mean of the last ten full seconds, or 0 while there are not yet so many."""
        values = self.values[-_RATE_S:]
        return sum(values) / _RATE_S if len(values) == _RATE_S else 0.0


def eta_s(*, dialing_left_s: float, rate: float, published: int, finals: int, settling_per_s: float) -> float | None:
    """Return in how many seconds everything may be final, or ``None`` while nothing becomes final.

    The dialer goes on for ``dialing_left_s`` at ``rate`` a second (0: it has no rate); what is pending then becomes
    final at ``settling_per_s`` as now.
    """
    if published and finals >= published and dialing_left_s <= 0:
        return 0.0
    if settling_per_s <= 0:
        return None
    to_come = published - finals + rate * max(0.0, dialing_left_s)
    return max(dialing_left_s, to_come / settling_per_s)
