"""When to ask for the statuses of an accepted batch."""

import random
from dataclasses import dataclass

# The first check comes when batches of this account usually are done; before any is known, after this.
FIRST_CHECK_S = 5.0
FIRST_CHECK_MIN_S = 2.0
FIRST_CHECK_MAX_S = 60.0

# Later checks back off to this; a jitter of a fifth keeps the batches of a burst from asking together for ever.
CHECK_CAP_S = 60.0
JITTER = 0.2

# How much of a new observation goes into the average.
_WEIGHT = 0.2


@dataclass(slots=True)
class CheckTimes:
    """Learns how long batches of one account take (an exponentially weighted average, in seconds)."""

    usual_s: float = FIRST_CHECK_S

    def learn(self, took_s: float) -> None:
        """A batch was complete ``took_s`` after it had been accepted, as far as we know."""
        self.usual_s += _WEIGHT * (took_s - self.usual_s)

    def first_s(self) -> float:
        """Seconds from acceptance to the first check."""
        return min(FIRST_CHECK_MAX_S, max(FIRST_CHECK_MIN_S, self.usual_s))

    def next_s(self, checks: int, rng: random.Random) -> float:
        """Seconds from the ``checks``-th unsuccessful check to the next."""
        wait_s = min(CHECK_CAP_S, self.first_s() * 2.0 ** min(checks, 16) / 2)
        return max(1.0, wait_s * rng.uniform(1 - JITTER, 1 + JITTER))
