"""How many requests a minute an account needs: what decides which of its tokens are worth renewing.

A small batch leaves because there are slots to spare; with fewer it would have waited for company. So a POST counts by
how full it is, and a part of a refused batch and a status check as one. The rate is an exponentially weighted average
over a few minutes, so that a quiet minute costs no token.
"""

import math

# A token more or less is decided every five minutes or so; the average looks back about as far.
AVERAGE_S = 300.0


class Demand:
    """A rate of requests, as it is remembered. ``boot_s`` throughout."""

    def __init__(self) -> None:
        self._per_minute = 0.0
        self._at_s = 0.0

    def per_minute(self, now_s: float) -> float:
        """Requests a minute that could not have been fewer."""
        return self._per_minute * math.exp(min(0.0, self._at_s - now_s) / AVERAGE_S)

    def add(self, requests: float, now_s: float) -> None:
        """So many are made now, in parts of a full one."""
        self._per_minute = self.per_minute(now_s) + requests * 60.0 / AVERAGE_S
        self._at_s = now_s

    def assume(self, per_minute: float, now_s: float) -> None:
        """Nothing is known yet, but a previous owner needed as much."""
        self._per_minute, self._at_s = per_minute, now_s
