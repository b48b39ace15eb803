"""When synthetic intents may leave: a rate on the monotonic clock.

Pure: it is told the time in seconds and answers how many are due. What must stay true: over any stretch it lets at most
``rate`` a second pass, plus :data:`CATCH_UP_S` worth of a pause it was not responsible for.
"""

from typing import Final

CATCH_UP_S: Final = 1.0
"""After a pause, at most this many seconds' worth is made up for: a held-back dialer must not flood when let go."""


# A caller that waits exactly as long as it was told must not find a credit of 0.999... and be told to wait for nothing.
_ROUNDING: Final = 1e-6


class Pacer:
    """Say how many of ``rate_per_s`` are due; a rate of 0 means as fast as possible.

    ``start_s`` is the monotonic time at which it begins. ``burst_max`` bounds one answer, so that a caller polls its
    producer often enough even without a limit.
    """

    def __init__(self, rate_per_s: float, start_s: float, burst_max: int = 1000) -> None:
        if rate_per_s < 0 or burst_max < 1:
            raise ValueError(
                f"rate_per_s must not be negative and burst_max at least 1, not {rate_per_s} and {burst_max}"
            )
        self._rate_per_s = rate_per_s
        self._burst_max = burst_max
        self._credit = 0.0
        self._at_s = start_s

    def due(self, now_s: float) -> int:
        """Return how many may leave now; they count as gone."""
        if not self._rate_per_s:
            return self._burst_max
        earned = self._credit + max(0.0, now_s - self._at_s) * self._rate_per_s
        self._credit = min(earned, max(1.0, CATCH_UP_S * self._rate_per_s))
        self._at_s = max(now_s, self._at_s)
        count = min(int(self._credit + _ROUNDING), self._burst_max)
        self._credit -= count
        return count

    def wait_s(self) -> float:
        """Return how long after the last :meth:`due` the next one is due, in seconds."""
        if not self._rate_per_s:
            return 0.0
        return max(0.0, (1.0 - self._credit) / self._rate_per_s)
