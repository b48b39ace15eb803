"""How far apart the requests of an account are, so that a minute's slots are left to neither its beginning nor its end.

Slots that are used up early in a minute are followed by a wait until the first of them count no more, and that wave
comes back every minute: requests keep their limits, but their intents wait for ten seconds and more. So the slots of
the next half minute are spread over just that half minute:

    rate = min over t of (slots that are free, or come free within t, less a reserve for t) / t      t = 2 s .. 30 s

Where nothing was sent lately the rate is high (one token of 60 requests a minute: 60 / 30 = 2 a second), so a burst
leaves as fast as the spacing of the tokens allows. Where the slots come back steadily, it is what comes back. The
shorter spans see to it that no slot is counted on before it is there; beyond half a minute nothing is looked at, for
over a whole minute the rate would be the same whether the minute has been used or not.

With u requests a second, steadily, 60 - 60u slots are free and 30u come back within 30 s, less a reserve of 60s: where
the rate is used, 30u = 60 - 60u + 30u - 60s has the one solution u = 1 - s. An error decays by a factor of 4 to 5 every
half minute (the delay equation 30 u' = u(t - 30) - u), so waves do not last.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from streams.lane.pace import WINDOW_S, Pace

AHEAD_S: Final = (2.0, 4.0, 8.0, 15.0, 30.0)


class Supply(NamedTuple):
    """Requests a second as of ``now_s``: what lasts, and what all slots give if they are spent evenly."""

    now_s: float
    lasting_per_s: float
    even_per_s: float

    def next_at(self, last_s: float, spacings_max: float, *, cost: float = 1.0, reserve: float = 0.0) -> float:
        """When the next request should leave if the last one did at ``last_s``, or when to look again.

        ``cost`` is how many requests each brings, ``reserve`` the share of all slots to be left. No gap is longer than
        ``spacings_max`` even spacings. The rate grows while nothing is sent, so it is looked at once in each spacing.
        """
        reserve_per_s = reserve * self.even_per_s * WINDOW_S / AHEAD_S[-1]
        gap_s = cost / max(self.lasting_per_s - reserve_per_s, self.even_per_s / spacings_max)
        return min(last_s + gap_s, self.now_s + 1.0 / self.even_per_s)


def supply(paces: Sequence[Pace], now_s: float) -> Supply:
    """What all tokens of an account give together. Those that have to pause give nothing."""
    open_ = [pace for pace in paces if pace.held_until_s <= now_s]
    lasting_per_s = min(sum(pace.free_by(now_s + ahead_s, now_s) for pace in open_) / ahead_s for ahead_s in AHEAD_S)
    return Supply(now_s, lasting_per_s, max(1, sum(pace.limit for pace in paces)) / WINDOW_S)
