"""How far apart the requests of an account are, so that a minute's slots are left to neither its beginning nor its end.

Slots that are used up early in a minute are followed by a wait until the first of them count no more, and that wave
comes back every minute: requests keep their limits, but their intents wait for ten seconds and more. So the slots of
the next half minute are spread over just that half minute:

    rate = min over t of (slots that are free, or come free within t) / t      t = 2 s .. 30 s

Where nothing was sent lately the rate is high (one token of 60 requests a minute: 60 / 30 = 2 a second), so a burst
leaves as fast as the spacing of the tokens allows. Where the slots come back steadily, it is what comes back. The
shorter spans see to it that no slot is counted on before it is there; beyond half a minute nothing is looked at, for
over a whole minute the rate would be the same whether the minute has been used or not.

With u requests a second, steadily, 60 - 60u slots are free and 30u come back within 30 s: where the rate is used, 30u =
60 - 60u + 30u has the one solution u = 1. An error decays by a factor of 4 to 5 every half minute (the delay equation
30 u' = u(t - 30) - u), so waves do not last.
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

    def next_at(self, last_s: float, spacings_max: float, *, cost: float = 1.0) -> float:
        """When the next request should leave if the last one did at ``last_s``, or when to look again.

        ``cost`` is how many requests each brings. No gap is longer than ``spacings_max`` even spacings for each of
        them. The rate grows while nothing is sent, so it is looked at once in each spacing.
        """
        gap_s = cost / max(self.lasting_per_s, self.even_per_s / spacings_max)
        return self.look_by(last_s + gap_s)

    def look_by(self, when_s: float) -> float:
        """That time, or an even spacing from now: what was reckoned may have changed by then."""
        return min(when_s, self.now_s + 1.0 / self.even_per_s)


def supply(paces: Sequence[Pace], account: Pace, now_s: float) -> Supply:
    """What the tokens of an account give, each as much as the server is believed to take, and the account in all.

    What has to pause gives nothing.
    """
    open_ = [pace for pace in paces if pace.held_until_s <= now_s] if account.held_until_s <= now_s else []
    lasting_per_s = min(
        min(sum(pace.free_by(now_s + ahead_s, now_s) for pace in open_), account.free_by(now_s + ahead_s, now_s))
        / ahead_s
        for ahead_s in AHEAD_S
    )
    even = min(sum(pace.learned(now_s) for pace in paces), account.learned(now_s))
    return Supply(now_s, lasting_per_s, max(1, even) / WINDOW_S)
