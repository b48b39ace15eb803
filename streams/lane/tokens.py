"""The access tokens of one account, and how often new ones may be minted.

A token lives 60 minutes and the API grants 10 mints per 30 minutes and account. An attempt is journaled before it is
made, so that a worker that crashes in a loop cannot use up the quota; it counts from when it ended, since nobody knows
when in between the API saw it. Tokens travel with the account: the journal has
them sealed, with what a successor needs to know of their recent use. This release keeps one token in use.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from streams.contracts.journal import TokenEntry, TokensEntry
from streams.lane.backoff import Backoff
from streams.lane.instant import Instant
from streams.lane.pace import WINDOW_S, Pace

# Tokens live 60 minutes (vendor page "Generate Access Token"); the rest is for clocks, latency and a slow renewal.
TOKEN_USE_S = 55 * 60.0

# A successor is asked for this long before a token is put away, so that no request has to wait for it.
RENEW_EARLY_S = 60.0

MINT_WINDOW_S = 30 * 60.0

# How far the clock of the worker that wrote a time may have been off.
CLOCK_DOUBT_S = 5.0

# After a crash nobody knows what the previous owner sent last. By this long after the assignment all of it has ended.
CRASH_RUN_S = 35.0

# Nor when the attempt to mint that it had journaled last reached the API: after its commit, within its deadline.
CRASH_MINT_S = 120.0


class Sealer(Protocol):
    """Encrypts tokens for the journal, bound to the account. ``open`` returns ``None`` for what it cannot decrypt."""

    def seal(self, token: str) -> str:
        """Encrypt a token."""
        ...

    def open(self, sealed: str) -> str | None:
        """Decrypt a token, or ``None`` where that is not possible."""
        ...


@dataclass(slots=True)
class Token:
    """One usable token. ``proven``: the API has taken it. ``repr`` hides the secret."""

    ordinal: int
    minted_at_ms: int
    secret: str = field(repr=False)
    sealed: str = field(repr=False)
    pace: Pace
    use_until_s: float
    proven: bool = False


class Tokens:
    """The tokens of a lane, and its mint budget."""

    def __init__(self, *, requests_per_minute: int, mints_per_30_min: int, sealer: Sealer) -> None:
        self._requests_per_minute = requests_per_minute
        self._mints_max = mints_per_30_min
        self._sealer = sealer
        self._tokens: list[Token] = []
        # The attempts in their order: the last one may still be running. They count by `boot_s`, which does not jump;
        # the wall clock is journaled as it was first read, so that hand-overs do not add up the errors of clocks.
        self._mints: list[Instant] = []
        self._next_ordinal = 0
        self._minting = False
        self._backoff = Backoff(base_s=5.0, cap_s=180.0, floor_s=1.0)
        self._mint_not_before_s = float("-inf")

    def restore(self, entry: TokensEntry, now: Instant) -> None:
        """Take over what a previous owner left. Tokens that cannot be decrypted are dropped."""
        mints_ms = list(entry.mints)
        if mints_ms and not entry.released:
            latest_ms = now.wall_ms + round(CRASH_RUN_S * 1000)
            mints_ms[-1] = min(latest_ms, mints_ms[-1] + round(CRASH_MINT_S * 1000))
        self._mints = [Instant(minted_ms, now.boot_of(minted_ms)) for minted_ms in mints_ms]
        self._next_ordinal = entry.next_ordinal
        for left in entry.tokens:
            secret = self._sealer.open(left.sealed)
            token = secret and self._token(left.ordinal, left.minted_at, secret, left.sealed, now)
            if not token:
                continue
            token.use_until_s -= CLOCK_DOUBT_S
            token.proven = True
            if entry.released:
                token.pace.restore([now.boot_of(ended) + CLOCK_DOUBT_S for _, ended in left.sends])
            else:
                # As if every slot were taken by one of those requests: so a hand-over tells the next owner too.
                token.pace.restore([now.boot_s + CRASH_RUN_S] * self._requests_per_minute)
            self._tokens.append(token)

    def _token(self, ordinal: int, minted_at_ms: int, secret: str, sealed: str, now: Instant) -> Token:
        use_until_s = now.boot_of(minted_at_ms) + TOKEN_USE_S
        return Token(ordinal, minted_at_ms, secret, sealed, Pace(self._requests_per_minute), use_until_s)

    def usable(self, now: Instant) -> list[Token]:
        """Tokens that the API should still take, oldest first. Those past their use are forgotten."""
        self._tokens = [token for token in self._tokens if token.use_until_s > now.boot_s]
        return self._tokens

    def find(self, ordinal: int) -> Token | None:
        """The token of that ordinal, unless it was dropped."""
        return next((token for token in self._tokens if token.ordinal == ordinal), None)

    def drop(self, ordinal: int) -> None:
        """The API no longer takes this token."""
        self._tokens = [token for token in self._tokens if token.ordinal != ordinal]

    def mint_at(self, now: Instant) -> float:
        """When a new token should be asked for: ``boot_s``, infinity while one is being minted."""
        if self._minting:
            return float("inf")
        serving = [token for token in self.usable(now) if _serves(token, now)]
        wanted = max((token.use_until_s - RENEW_EARLY_S for token in serving), default=now.boot_s)
        return max(wanted, self._mint_not_before_s, self._quota_at(now))

    def _quota_at(self, now: Instant) -> float:
        recent = sorted(mint.boot_s for mint in self._recent_mints(now))
        if len(recent) < self._mints_max:
            return float("-inf")
        return recent[-self._mints_max] + MINT_WINDOW_S + CLOCK_DOUBT_S

    def _recent_mints(self, now: Instant) -> list[Instant]:
        horizon_s = now.boot_s - MINT_WINDOW_S - CLOCK_DOUBT_S
        return [mint for mint in self._mints if mint.boot_s > horizon_s]

    def start_mint(self, now: Instant) -> None:
        """An attempt to mint is about to be journaled, then made."""
        self._minting = True
        self._mints = [*self._recent_mints(now), now]

    def minted(self, secret: str, now: Instant) -> Token:
        """The attempt brought a token."""
        self._mint_ended(now)
        self._backoff.succeed()
        token = self._token(self._next_ordinal, now.wall_ms, secret, self._sealer.seal(secret), now)
        self._next_ordinal += 1
        self._tokens.append(token)
        return token

    def mint_failed(self, now: Instant, rng: random.Random, retry_after_s: float | None) -> float:
        """The attempt failed; returns the seconds until the next one is allowed."""
        self._mint_ended(now)
        wait_s = self._backoff.fail(rng, retry_after_s)
        self._mint_not_before_s = now.boot_s + wait_s
        return wait_s

    def _mint_ended(self, now: Instant) -> None:
        self._minting = False
        self._mints[-1] = now

    def entry(self, now: Instant, *, released: bool) -> TokensEntry:
        """What to journal. ``released``: we go in order; it is said only if nothing runs and the sends are complete."""
        wall: Callable[[float], int] = now.wall_of
        released = released and not any(token.pace.running for token in self._tokens)
        tokens = tuple(
            TokenEntry(
                token.ordinal,
                token.minted_at_ms,
                token.sealed,
                # Nobody can rely on them after a crash, and after several they would be most of the entry.
                tuple((wall(ended), wall(ended)) for ended in token.pace.recent()) if released else (),
            )
            for token in self.usable(now)
        )
        return TokensEntry(
            tokens, tuple(mint.wall_ms for mint in self._recent_mints(now)), self._next_ordinal, released
        )


def _serves(token: Token, now: Instant) -> bool:
    """Whether a token is worth waiting for. One that rests after a crash is not, if the budget allows a fresh one.

    One that the API throttles is: a fresh one would be throttled too, and there are few.
    """
    free_at_s = token.pace.free_at(1, now.boot_s)
    return free_at_s <= now.boot_s + WINDOW_S or free_at_s == float("inf")
