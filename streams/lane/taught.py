"""What 429s have taught an owner, handed to the next one with the tokens.

A successor that knew nothing of it would go on at the full limit, and be thrown back as its predecessor was. It knows
what the journal said last, after a crash too: it is written with each 429, and whenever tokens are.
"""

from collections.abc import Mapping, Sequence

from streams.contracts.journal import Throttle
from streams.lane.instant import Instant
from streams.lane.mints import CLOCK_DOUBT_S
from streams.lane.pace import Pace

# The longest pause that is taken over, whatever the journal says: twice what a server is given that asks for one.
HELD_MAX_S = 600.0


def throttles(paces: Mapping[int | None, Pace], now: Instant) -> tuple[Throttle, ...]:
    """What to journal of these paces, by the ordinals of their tokens (``None``: all together)."""
    return tuple(_throttle(ordinal, pace, now) for ordinal, pace in paces.items() if pace.slowed(now.boot_s))


def _throttle(ordinal: int | None, pace: Pace, now: Instant) -> Throttle:
    learned, learned_at_s = pace.taught()
    held = pace.held_until_s > now.boot_s
    return Throttle(
        ordinal, round(learned, 3), now.wall_of(learned_at_s), now.wall_of(pace.held_until_s) if held else 0
    )


def restore_throttles(paces: Mapping[int | None, Pace], told: Sequence[Throttle], now: Instant) -> None:
    """Go on where the previous owner was, whose clock may have been behind."""
    for ordinal, learned, learned_at_ms, held_until_ms in told:
        if pace := paces.get(ordinal):
            held_until_s = now.boot_of(held_until_ms) + CLOCK_DOUBT_S if held_until_ms else float("-inf")
            learned_at_s = min(now.boot_s, now.boot_of(learned_at_ms) + CLOCK_DOUBT_S)
            pace.teach(learned, learned_at_s, min(now.boot_s + HELD_MAX_S, held_until_s))


def pass_on(paces: Mapping[int | None, Pace], fresh: Pace, now: Instant) -> None:
    """A fresh token is believed to be given no more than the best of the others: the server has no reason to."""
    others = [pace for ordinal, pace in paces.items() if ordinal is not None]
    if others and all(pace.learned(now.boot_s) < pace.limit for pace in others):
        best = max(others, key=lambda pace: pace.learned(now.boot_s))
        fresh.teach(*best.taught(), float("-inf"))
