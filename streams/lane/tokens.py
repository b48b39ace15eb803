"""The access tokens of one account: how many there are, and with which one the next request leaves.

The API takes so many requests a minute with each. All of them together are held to ``tokens_max`` times that: while a
token and its successor are both good, they share what one is allowed. When another one is minted is decided in
:mod:`streams.lane.minting`.

Tokens travel with the account: the journal has them sealed, with what a successor needs to know of their recent use,
and what 429s have taught.
That the pool fell back to one token does not travel; a successor finds it out at the cost of a mint.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal, Protocol

from streams.contracts.journal import TokenEntry, TokensEntry
from streams.lane.instant import Instant
from streams.lane.minting import Minting
from streams.lane.mints import CLOCK_DOUBT_S, CRASH_RUN_S
from streams.lane.pace import WINDOW_S, Pace
from streams.lane.taught import pass_on, restore_throttles, throttles
from streams.lane.token import TOKEN_USE_S, Token

Shortage = Literal["quota", "refused", "revoked"]
"""Why an account has fewer tokens than it needs: the quota of mints is used up, the last attempt to mint failed, or a
new token seems to revoke the ones before it."""


class Sealer(Protocol):
    """Encrypts tokens for the journal, bound to the account. ``open`` returns ``None`` for what it cannot decrypt."""

    def seal(self, token: str) -> str:
        """Encrypt a token."""
        ...

    def open(self, sealed: str) -> str | None:
        """Decrypt a token, or ``None`` where that is not possible."""
        ...


class Tokens:
    """The pool of a lane. ``pace`` is that of all tokens together."""

    def __init__(self, *, requests_per_minute: int, mints_per_30_min: int, tokens_max: int, sealer: Sealer) -> None:
        self._requests_per_minute = requests_per_minute
        self._sealer = sealer
        self._tokens: list[Token] = []
        self._next_ordinal = 0
        self.minting = Minting(mints_per_30_min, tokens_max, requests_per_minute)
        self.pace = Pace(requests_per_minute * self.minting.size_max)

    def restore(self, entry: TokensEntry, now: Instant) -> None:
        """Take over what a previous owner left. Tokens that cannot be decrypted are dropped."""
        self.minting.mints.restore(entry, now)
        self._next_ordinal = entry.next_ordinal
        for left in entry.tokens:
            if secret := self._sealer.open(left.sealed):
                token = self._token(left.ordinal, left.minted_at, secret, left.sealed, now)
                self._restore_use(token, left, now, released=entry.released)
                self._tokens.append(token)
        self.pace.restore([now.boot_of(ended) + CLOCK_DOUBT_S for ended in entry.retired])
        restore_throttles(self._paces(), entry.throttles, now)
        self.minting.demand.assume(len(self._tokens) * self._requests_per_minute, now.boot_s)

    def _restore_use(self, token: Token, left: TokenEntry, now: Instant, *, released: bool) -> None:
        token.use_until_s -= CLOCK_DOUBT_S
        token.proven = True
        if released:
            ended_s = [now.boot_of(ended) + CLOCK_DOUBT_S for _, ended in left.sends]
            token.pace.restore(ended_s)
            self.pace.restore(ended_s)
        else:
            # As if every slot were taken by one of those requests: so a hand-over tells the next owner too.
            token.pace.restore([now.boot_s + CRASH_RUN_S] * self._requests_per_minute)

    def _token(self, ordinal: int, minted_at_ms: int, secret: str, sealed: str, now: Instant) -> Token:
        use_until_s = now.boot_of(minted_at_ms) + TOKEN_USE_S
        return Token(ordinal, minted_at_ms, secret, sealed, Pace(self._requests_per_minute), use_until_s)

    # -- which one next

    def usable(self, now: Instant) -> list[Token]:
        """Tokens that the API should still take, oldest first. Those past their use are forgotten."""
        self._tokens = [token for token in self._tokens if token.use_until_s > now.boot_s]
        return self._tokens

    def find(self, ordinal: int) -> Token | None:
        """The token of that ordinal, unless it was dropped."""
        return next((token for token in self._tokens if token.ordinal == ordinal), None)

    def best(self, now: Instant) -> Token | None:
        """The token with which a request may leave now, the one with most to spare; ``None`` if there is none."""
        if self.pace.ready_at(now.boot_s) > now.boot_s:
            return None
        ready = [token for token in self.usable(now) if token.pace.ready_at(now.boot_s) <= now.boot_s]
        return max(ready, key=lambda token: token.pace.free(now.boot_s), default=None)

    def ready_at(self, now: Instant) -> float:
        """When the next request may leave; infinity if only an event can bring that about."""
        ready_s = min((token.pace.ready_at(now.boot_s) for token in self.usable(now)), default=float("inf"))
        return max(ready_s, self.pace.ready_at(now.boot_s))

    @property
    def in_use(self) -> int:
        """With how many tokens at a time requests may be running."""
        return min(len(self._tokens), self.minting.size_max)

    def take(self, token: Token, now: Instant) -> None:
        """A request is about to leave with this token."""
        token.pace.take(now.boot_s)
        self.pace.take(now.boot_s)

    def ended(self, ordinal: int, now: Instant) -> None:
        """A request with this token has ended, however; the token may be gone by now."""
        self.pace.ended(now.boot_s)
        if token := self.find(ordinal):
            token.pace.ended(now.boot_s)

    def unsent(self, ordinal: int) -> None:
        """A request with this token never left."""
        self.pace.unsent()
        if token := self.find(ordinal):
            token.pace.unsent()

    # -- more, or fewer

    def press(self, now: Instant, *, waits: bool, in_flight: bool = False) -> None:
        """Tell whether a batch that cannot be fuller is waiting, after all that may leave has left.

        ``in_flight``: it is because as many requests are running as may with the tokens there are.
        """
        waiting = waits and len(self._tokens) < self.minting.size_max and not self.throttled(now)
        self.minting.press(self.usable(now), now.boot_s, waiting=waiting, in_flight=in_flight)

    def proved(self, token: Token) -> None:
        """The API has taken this token. One too many is put away then: the oldest, whose successor this is."""
        token.proven = True
        token.backoff.succeed()
        if len(self._tokens) > self.minting.size_max:
            self._tokens = self._tokens[1:]

    def refused(self, token: Token, now: Instant) -> None:
        """The API no longer takes this token."""
        self._tokens = [other for other in self._tokens if other is not token]
        if token.proven and self.minting.refused(token, self._tokens, now.boot_s):
            self._tokens = self._tokens[-1:]

    def mint_at(self, now: Instant) -> float:
        """When a new token should be asked for: ``boot_s``, infinity while one is being minted."""
        return self.minting.due_at(self.usable(now), now)

    def start_mint(self, now: Instant) -> None:
        """An attempt to mint is about to be journaled, then made."""
        self.minting.start(now)

    def minted(self, secret: str, now: Instant) -> Token:
        """The attempt brought a token."""
        self.minting.succeeded(now)
        token = self._token(self._next_ordinal, now.wall_ms, secret, self._sealer.seal(secret), now)
        pass_on(self._paces(), token.pace, now)
        self._next_ordinal += 1
        self._tokens.append(token)
        return token

    def mint_failed(self, now: Instant, rng: random.Random, retry_after_s: float | None) -> float:
        """The attempt failed; returns the seconds until the next one is allowed."""
        return self.minting.failed(now, rng, retry_after_s)

    # -- what is said of them

    def throttled(self, now: Instant) -> bool:
        """Whether the API has lately taken less than it was given (429)."""
        return any(pace.slowed(now.boot_s) for pace in self._paces().values())

    def _paces(self) -> dict[int | None, Pace]:
        return {None: self.pace, **{token.ordinal: token.pace for token in self._tokens}}

    def learned_per_minute(self, now: Instant) -> int:
        """Requests a minute that the API is believed to take with the tokens there are."""
        tokens = sum(token.pace.learned(now.boot_s) for token in self.usable(now))
        return min(tokens, self.pace.learned(now.boot_s))

    def shortage(self, now: Instant) -> Shortage | None:
        """Why there are fewer tokens than needed, if so: the lane goes on with what it has."""
        minting = self.minting
        if minting.alone_until_s > now.boot_s and minting.size_max > 1:
            return "revoked"
        if minting.failures.failures:
            return "refused"
        if minting.mints.allowed_at(now) > now.boot_s and len(self.usable(now)) < minting.wanted(now):
            return "quota"
        return None

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
        mints = tuple(mint.wall_ms for mint in self.minting.mints.recent(now))
        retired = tuple(map(wall, self._retired(now))) if released else ()
        return TokensEntry(tokens, mints, self._next_ordinal, released, throttles(self._paces(), now), retired)

    def _retired(self, now: Instant) -> Iterable[float]:
        """When the requests ended that count for the account alone: their tokens are not used any more."""
        used = Counter(ended_s for token in self.usable(now) for ended_s in token.pace.recent())
        recent = (ended_s for ended_s in self.pace.recent() if ended_s + WINDOW_S > now.boot_s)
        return (Counter(recent) - used).elements()
