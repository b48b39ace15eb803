"""What a 429 changes.

It holds up the token that it was for: as long as the server asks, else by exponential backoff with full jitter; and
that token goes on slower (:mod:`streams.lane.pace`). It holds up the whole account where it cannot be about that one
token alone: when another token is held up as well, or when this one had not used half of what it is allowed in a
minute. Nothing is lost by it: the batch was not applied, and goes again when it may.
"""

from streams.lane.actions import Write
from streams.lane.instant import Instant
from streams.lane.state import LaneState
from streams.lane.token import Token

# A token that has sent less than this share of what it may in a minute has not used up a limit of its own.
OWN_SHARE = 0.5


def throttled(lane: LaneState, token: Token | None, retry_after_s: float | None, now: Instant, write: Write) -> None:
    """A request with this token (``None``: one that is gone) was answered with 429. The write tells a successor."""
    _slow_down(lane, token, retry_after_s, now)
    write.entries.append(lane.journaled_tokens(now))


def _slow_down(lane: LaneState, token: Token | None, retry_after_s: float | None, now: Instant) -> None:
    if token is not None:
        others = any(other.pace.held_until_s > now.boot_s for other in lane.tokens.usable(now) if other is not token)
        own = token.pace.used(now.boot_s) >= OWN_SHARE * token.pace.learned(now.boot_s)
        if own:
            token.pace.throttled(now.boot_s)
        token.pace.hold(now.boot_s + token.backoff.fail(lane.tools.rng, retry_after_s))
        if own and not others:
            return
    lane.tokens.pace.throttled(now.boot_s)
    until_s = now.boot_s + lane.backoff.fail(lane.tools.rng, retry_after_s)
    lane.tokens.pace.hold(until_s)
    lane.hold_until_s = max(lane.hold_until_s, until_s)


def exhausted(token: Token | None, for_s: float | None, now: Instant) -> None:
    """An answer says that this token has no request left for so long (``RateLimit-Remaining: 0``)."""
    if token is not None and for_s is not None:
        token.pace.hold(now.boot_s + for_s)
