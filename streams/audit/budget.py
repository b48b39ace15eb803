"""Did anybody use the API more than it allows? Exact for whatever moment in between the API saw a request.

A worker knows of a request when it was sent and when its answer had come; the API counted it somewhere in between. The
rule: a budget was kept if no choice of such moments puts more than ``limit`` requests into one window. More than that
many requests fit into a window exactly if the last of them to be sent was sent less than a window after the first of
them to end had ended, so sorting both times and counting is enough. A server that wrote the moment itself down gives it
for both. Memory: 16 bytes a request.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

MINUTE_S: Final = 60.0
MINTS_WINDOW_S: Final = 1800.0

# The times on record are those of a wall clock, the pace is kept by a clock that nobody sets: while a clock is slewed
# (500 ppm at most) a minute on one is 30 ms more or less on the other.
_SLEW: Final = 0.0005


Limit = Callable[[str], int]


class Span(NamedTuple):
    """A busiest window: how many requests it may have held, how many were allowed, and when it began (seconds)."""

    requests: int
    limit: int
    began_s: float
    who: str


@dataclass(slots=True)
class Uses:
    """The requests that share a limit: when each was sent and when it had ended, in seconds."""

    sent_s: "array[float]" = field(default_factory=lambda: array("d"))
    ended_s: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, sent_s: float, ended_s: float) -> None:
        """One more."""
        self.sent_s.append(sent_s)
        self.ended_s.append(max(sent_s, ended_s))

    def include(self, other: "Uses") -> None:
        """All that were counted elsewhere."""
        self.sent_s.extend(other.sent_s)
        self.ended_s.extend(other.ended_s)

    def runs(self) -> Iterator["Uses"]:
        """The requests, divided where so long nothing was under way that no window holds what is on both sides."""
        run = Uses()
        last_s = float("-inf")
        for sent_s, ended_s in sorted(zip(self.sent_s, self.ended_s, strict=True)):
            if run.sent_s and sent_s >= last_s + MINUTE_S:
                yield run
                run = Uses()
            run.add(sent_s, ended_s)
            last_s = max(last_s, ended_s)
        yield run

    def busiest(self, window_s: float, *, exact: bool) -> tuple[int, float]:
        """The most that one window may have held, and the end of the first request in it."""
        sent, ended = sorted(self.sent_s), sorted(self.ended_s)
        length_s = window_s if exact else window_s * (1 - _SLEW)
        counts = ((bisect_left(sent, end_s + length_s) - place, end_s) for place, end_s in _first_places(ended))
        return max(counts, default=(0, 0.0))


def _together(tokens: Iterable[Uses]) -> Iterator[Uses]:
    """The requests of an account by stretches in which its tokens were used side by side.

    Where all are given up at one moment and others taken, their owner has died, and the next one began with fresh
    tokens while those rest that it found: it cannot know what had been sent with them.
    """
    stretch, until_s = Uses(), float("-inf")
    for began_s, run in sorted(
        ((run.sent_s[0], run) for uses in tokens for run in uses.runs()), key=lambda each: each[0]
    ):
        if stretch.sent_s and began_s >= until_s:
            yield stretch
            stretch = Uses()
        stretch.include(run)
        until_s = max(until_s, *run.ended_s)
    yield stretch


def _first_places(ordered: list[float]) -> Iterator[tuple[int, float]]:
    before: float | None = None
    for place, value in enumerate(ordered):
        if value != before:
            yield place, value
        before = value


@dataclass(slots=True)
class Budget:
    """All requests of a deployment, as one side saw them. ``exact`` where that side is the server."""

    exact: bool = False
    requests: int = 0
    mints: int = 0
    _tokens: dict[tuple[str, str], Uses] = field(default_factory=dict)
    _mints: dict[str, Uses] = field(default_factory=dict)

    def request(self, account_id: str, token: str, sent_s: float, ended_s: float) -> None:
        """A POST or a status check."""
        self.requests += 1
        self._tokens.setdefault((account_id, token), Uses()).add(sent_s, ended_s)

    def mint(self, account_id: str, sent_s: float, ended_s: float) -> None:
        """An attempt to get a token."""
        self.mints += 1
        self._mints.setdefault(account_id, Uses()).add(sent_s, ended_s)

    @property
    def tokens(self) -> int:
        """How many tokens were used."""
        return len(self._tokens)

    def minutes(self, limit: Limit) -> Iterable[tuple[str, Span]]:
        """The busiest minute of each token, with its account."""
        for (account_id, token), uses in self._tokens.items():
            count, began_s = uses.busiest(MINUTE_S, exact=self.exact)
            yield account_id, Span(count, limit(account_id), began_s, f"token {token} of {account_id}")

    def account_minutes(self, limit: Limit) -> Iterable[tuple[str, Span]]:
        """The busiest minute of each account, over all tokens that it used side by side."""
        tokens: dict[str, list[Uses]] = {}
        for (account_id, _), uses in self._tokens.items():
            tokens.setdefault(account_id, []).append(uses)
        for account_id, used in tokens.items():
            count, began_s = max(stretch.busiest(MINUTE_S, exact=self.exact) for stretch in _together(used))
            yield account_id, Span(count, limit(account_id), began_s, f"all tokens of {account_id}")

    def mint_windows(self, limit: Limit) -> Iterable[tuple[str, Span]]:
        """The half-hour of each account in which it minted most."""
        for account_id, uses in self._mints.items():
            count, began_s = uses.busiest(MINTS_WINDOW_S, exact=self.exact)
            yield account_id, Span(count, limit(account_id), began_s, account_id)
