"""Exponential backoff with full jitter: how long to stay away after a failure.

Full jitter spreads the retries of many workers over the whole interval, so that an outage does not end in a
synchronised spike (AWS Builders' Library, "Timeouts, retries, and backoff with jitter").
"""

import random
from dataclasses import dataclass

# A server that names a time names the same to all: who comes back is spread over a tenth more.
SPREAD_SHARE = 0.1

_EXPONENT_MAX = 16  # beyond, the cap has long been reached and the power would only grow


@dataclass(slots=True)
class Backoff:
    """Counts failures in a row. Not before ``floor_s``, at most ``cap_s``."""

    base_s: float
    cap_s: float
    floor_s: float = 0.0
    failures: int = 0

    def fail(self, rng: random.Random, at_least_s: float | None = None) -> float:
        """Count a failure; return the seconds to wait. ``at_least_s`` is the server's wish (Retry-After)."""
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(self.failures, _EXPONENT_MAX))
        self.failures += 1
        wait = max(self.floor_s, rng.uniform(0, ceiling))
        return wait if at_least_s is None else at_least_s + rng.uniform(0, max(self.base_s, SPREAD_SHARE * at_least_s))

    def succeed(self) -> None:
        """Forget the failures."""
        self.failures = 0
