"""How many requests batches that are not full may use at once, and then steadily (a token bucket).

Of the slots of an account a *steady* share is given out evenly, and a *burst* share may be used at once where less than
the steady one was used lately. Together they are less than all: so small batches never use up the slots of a minute,
whatever their pattern, and none of them waits while they take less than the steady share.

A batch is charged when it leaves, with all the requests that it costs: its POST and the checks to come, which are not
charged again. Full ones are charged too but never wait for this, and what they use beyond it is forgotten: a batch that
is not full leaves one steady gap after the last one at the latest, as far as this is concerned.
"""

from typing import Final

from streams.lane.pace import WINDOW_S
from streams.lane.spread import Supply

# A fifth of the slots is left to what cannot wait, less what a burst took of it.
STEADY_SHARE: Final = 0.8
BURST_SHARE: Final = 0.1


class Allowance:
    """What is used of it. All times are ``boot_s``."""

    def __init__(self) -> None:
        self._used = 0.0
        self._at_s = 0.0

    def charge(self, cost: float, slots: Supply) -> None:
        """A batch leaves now that costs so many requests."""
        self._used = min(self._used_now(slots), _burst(cost, slots)) + cost
        self._at_s = slots.now_s

    def next_at(self, cost: float, slots: Supply) -> float:
        """When a batch of that cost may leave; not after now if at once."""
        over = self._used_now(slots) - _burst(cost, slots)
        return slots.now_s + over / (STEADY_SHARE * slots.even_per_s)

    def _used_now(self, slots: Supply) -> float:
        return max(0.0, self._used - (slots.now_s - self._at_s) * STEADY_SHARE * slots.even_per_s)


def _burst(cost: float, slots: Supply) -> float:
    """What may have been used before a batch of that cost leaves."""
    return max(0.0, BURST_SHARE * slots.even_per_s * WINDOW_S - cost)
