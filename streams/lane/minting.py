"""When an account asks for another token.

* The pool grows by one when a *full* batch, or a part of a refused one, has waited :data:`GROW_AFTER_S` with no slot
  left in any token, or a full one behind as many requests as may be in flight with the tokens there are (an API that
  takes seconds to answer); never while the API throttles, for it would throttle the new one too.
* A token that the demand of the last minutes does not need is not renewed. The last one always is, while there is work.
* A token that is refused is replaced at once if it had worked: once, for a fresh one that is refused tells that the
  next will be, too. Where an older token is refused within :data:`REVOKED_S` of a mint, new tokens seem to revoke the
  ones before them: for an hour the pool is one token.
* After a crash all tokens rest until what was sent with them no longer counts; a fresh one need not.

How the quota of 10 mints in 30 minutes is spent. A full pool is renewed every 54 minutes, evenly: ten tokens 5.4
minutes apart, which is 5.6 mints in 30 minutes, 6 at most. Growing leaves one of the ten, renewing leaves two, so that
a token that was refused can be replaced at once. The first half of the quota may be spent as fast as the load asks for
it (five tokens within four minutes), from then on mints are 225 s apart (30 minutes / 8). So a pool of ten is full
after 31 minutes. Tokens that were minted in a row are renewed before their time, one every 225 s at most, until they
are 5.4 minutes apart: they never end together.

A crash in a loop leaves two mints as long as a token of a predecessor is known. Where nothing came of the attempts
(refused, failed, crashed before the answer) each is further from the one before, up to 225 s.
"""

import math
import random
from collections.abc import Iterator, Sequence

from streams.lane.backoff import Backoff
from streams.lane.demand import Demand
from streams.lane.instant import Instant
from streams.lane.mints import CRASH_MINT_S, MINT_WINDOW_S, Mints
from streams.lane.token import RENEW_EARLY_S, TOKEN_USE_S, Token

LIFETIME_S = TOKEN_USE_S - RENEW_EARLY_S

# Longer than the spacing of one token's requests and than a usual answer, so that it is not mistaken for either; short
# against the minute for which a slot stays taken.
GROW_AFTER_S = 2.0

# While the quota is plentiful two mints are at least this far apart, so that no two tokens end together.
GAP_S = 30.0

# Tokens should not be used to the last slot: with less than a fifth left, small batches have to wait.
HEADROOM_SHARE = 0.8

# A refusal this soon after a mint is taken for its consequence; then the pool is one token for this long.
REVOKED_S = 60.0
ALONE_S = 3600.0

# The wait after attempts that left no token: from the second in half an hour on, doubling up to the gap at which the
# quota lasts for ever.
LOSS_BASE_S = 10.0
LOSS_DOUBLINGS_MAX = 6

# Demand, quota and the tokens' use change slowly: an answer holds for so long, unless something happens.
ANSWER_LASTS_S = 1.0
_NOTHING = (float("inf"), float("-inf"), 0)


class Minting:
    """Decides for one account. ``size_max`` is how many tokens there may be, and the quota can keep alive.

    ``tokens`` are always those that are usable, oldest first. All times are ``boot_s``.
    """

    def __init__(self, mints_per_30_min: int, tokens_max: int, requests_per_minute: int) -> None:
        self.mints = Mints(mints_per_30_min)
        self.demand = Demand()
        self.failures = Backoff(base_s=5.0, cap_s=180.0, floor_s=1.0)
        self.alone_until_s = float("-inf")
        self._requests_per_minute = requests_per_minute
        # What renewing leaves of the quota, and what growing does.
        self._reserve, self._reserve_growing = mints_per_30_min // 5, mints_per_30_min // 10
        self._gap_s = MINT_WINDOW_S / (mints_per_30_min - self._reserve)
        self.size_max = min(tokens_max, max(1, int(LIFETIME_S / self._gap_s)))
        self._not_before_s = float("-inf")
        self._pressed_since_s = float("inf")
        self._owed = False
        # When it was asked last, and what the answer was: it is asked a hundred times a second.
        self._answered = _NOTHING

    # -- what happens

    def press(self, tokens: Sequence[Token], now_s: float, *, waiting: bool, in_flight: bool) -> None:
        """Tell whether something is waiting that another token could serve, after all that may leave has left."""
        since_s = float("inf")
        if waiting:
            free = sum(token.pace.free(now_s) for token in tokens)
            plenty = free > (1 - HEADROOM_SHARE) * self._requests_per_minute * len(tokens)
            if in_flight or not free:
                since_s = min(self._pressed_since_s, now_s)
            elif not plenty:
                since_s = self._pressed_since_s
        if since_s != self._pressed_since_s:
            self._pressed_since_s = since_s
            self._answered = _NOTHING

    def refused(self, token: Token, others: Sequence[Token], now_s: float) -> bool:
        """The API no longer takes a token that it had taken; returns whether only the youngest should be kept."""
        self._answered = _NOTHING
        revoked = any(other.ordinal > token.ordinal and other.minted_s > now_s - REVOKED_S for other in others)
        if revoked:
            self.alone_until_s = now_s + ALONE_S
        self._owed = not revoked and all(other.proven for other in others)
        return revoked

    def start(self, now: Instant) -> None:
        """An attempt is about to be journaled, then made."""
        self.mints.start(now)
        self._answered = _NOTHING
        self._owed = False
        self._pressed_since_s = float("inf")

    def succeeded(self, now: Instant) -> None:
        """It brought a token."""
        self.mints.end(now)
        self.failures.succeed()

    def failed(self, now: Instant, rng: random.Random, retry_after_s: float | None) -> float:
        """It failed; returns the seconds until the next one is allowed."""
        self.mints.end(now)
        wait_s = self.failures.fail(rng, retry_after_s)
        self._not_before_s = now.boot_s + wait_s
        return wait_s

    # -- what it wants

    def due_at(self, tokens: Sequence[Token], now: Instant) -> float:
        """When a token should be asked for: infinity while one is being minted."""
        if self.mints.running:
            return float("inf")
        asked_s, due_s, count = self._answered
        if count != len(tokens) or not asked_s <= now.boot_s < min(asked_s + ANSWER_LASTS_S, due_s):
            wish_s = min(self._wishes(tokens, now))
            due_s = max(wish_s, self._not_before_s, self._after_losses_at(tokens, now))
            self._answered = (now.boot_s, due_s, len(tokens))
        return due_s

    def _wishes(self, tokens: Sequence[Token], now: Instant) -> Iterator[float]:
        serving = [token for token in tokens if token.serves(now.boot_s)]
        if not serving:
            yield max(now.boot_s, self.mints.allowed_at(now, self._reserve if tokens else 0))
            return
        room = len(tokens) < self.size_max and self.alone_until_s <= now.boot_s
        growing = room and self._pressed_since_s < float("inf")
        if growing:
            allowed_s = self.mints.allowed_at(now, self._reserve_growing)
            yield max(self._pressed_since_s + GROW_AFTER_S, self._gap_at(now), allowed_s)
        if room and self._owed:
            yield max(now.boot_s, self.mints.allowed_at(now))
        yield from self._renewals(serving, now, growing=growing)

    def _renewals(self, serving: Sequence[Token], now: Instant, *, growing: bool) -> Iterator[float]:
        """When the token that ends first of those that are needed should be renewed.

        That is brought forward where others end so soon after it that their renewals would be too close together,
        unless the pool grows: then there is a more urgent use of the quota.
        """
        due_s = sorted(token.renew_s for token in serving)[-self.wanted(now) :]
        if len(due_s) == 1:
            yield max(due_s[0], self.mints.allowed_at(now))
            return
        allowed_s = self.mints.allowed_at(now, self._reserve)
        yield max(due_s[0], allowed_s)
        if not growing:
            apart_s = LIFETIME_S / self.size_max
            brought_forward_s = min(due - place * apart_s for place, due in enumerate(due_s))
            yield max(brought_forward_s, allowed_s, self._gap_at(now))

    def wanted(self, now: Instant) -> int:
        """How many tokens the demand of the last minutes is worth; at least one."""
        if self.alone_until_s > now.boot_s:
            return 1
        needed = self.demand.per_minute(now.boot_s) / (HEADROOM_SHARE * self._requests_per_minute)
        return min(self.size_max, max(1, math.ceil(needed)))

    def _gap_at(self, now: Instant) -> float:
        """When a mint that could wait is far enough from the one before."""
        plentiful = len(self.mints.recent(now)) < self.mints.count_max // 2
        return self.mints.last_s() + (min(GAP_S, self._gap_s) if plentiful else self._gap_s)

    def _after_losses_at(self, tokens: Sequence[Token], now: Instant) -> float:
        """When there may be another attempt, after those of the last half hour that left no token."""
        recent = self.mints.recent(now)
        # After a crash an attempt counts from as late as it may have ended, its token from when it was there.
        since_ms = min((mint.wall_ms for mint in recent), default=now.wall_ms) - CRASH_MINT_S * 1000
        lost = len(recent) - sum(token.minted_at_ms >= since_ms for token in tokens)
        pause_s = min(self._gap_s, LOSS_BASE_S * 2.0 ** min(lost - 2, LOSS_DOUBLINGS_MAX))
        return self.mints.last_s() + pause_s if lost > 1 else float("-inf")
