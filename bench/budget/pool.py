"""One account with more work than ten tokens can do, for the ramp and one hour of virtual time.

    uv run python -m bench.budget.pool

The lane is the real one; the shell around it and the API are small and live on a clock that jumps from event to event,
so that an hour and a half take seconds. A batch holds one intent here and stands for a full one of 500: what is
measured is requests, and a lane that is never short of work always sends full ones. The API is strict: it counts every
request when it arrives, holds each token to 60 and the account to 600 in any 60 seconds, mints to 10 in any 30 minutes,
forgets a token after 60 minutes, and answers 429 or 401 to what is beyond. Statuses are not checked.
"""

import heapq
import itertools
import json
import random
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from bench.budget.account import ACCOUNT, PlainSealer
from bench.budget.traffic import EPOCH_MS
from streams.contracts.journal import Packer
from streams.contracts.parcel import Parcel, Row
from streams.lane import answers
from streams.lane.actions import Action, Check, Mint, Post, Write
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.options import LaneOptions
from streams.lane.state import Tools
from streams.lane.verdict import Accepted, Minted, PostVerdict, Reauthenticate, RetryLater, TokenVerdict

TOKENS, REQUESTS, MINTS, RECORDS = 10, 60, 10, 500
TOKEN_LIFE_S = 3600.0
HOUR_S = 3600.0

# The shell's resolution, a commit, and the way to the API and back: answers come within 200 ms.
TICK_S = 0.001
COMMIT_S = (0.005, 0.03)
WAY_S = (0.02, 0.1)

# Never short of work: so many batches wait at least.
WAITING = 40

V = TypeVar("V")


class Window:
    """The requests of one limit, as the server counts them; remembers the most that were in a window."""

    def __init__(self, length_s: float, limit: int) -> None:
        self.most = 0
        self._length_s = length_s
        self._limit = limit
        self._times: deque[float] = deque()

    def count(self, now_s: float) -> bool:
        """Count one more, whether or not it is within the limit; returns whether it is."""
        while self._times and self._times[0] <= now_s - self._length_s:
            self._times.popleft()
        self._times.append(now_s)
        self.most = max(self.most, len(self._times))
        return len(self._times) <= self._limit


class StrictApi:
    """Judges requests when they arrive."""

    def __init__(self) -> None:
        self.accepted_s: list[float] = []
        self.minted_s: list[float] = []
        self.refused: defaultdict[str, int] = defaultdict(int)
        self.mints = Window(1800.0, MINTS)
        self.account = Window(60.0, TOKENS * REQUESTS)
        self.tokens: dict[str, Window] = {}

    def mint(self, now_s: float) -> TokenVerdict:
        """Grant a token."""
        if not self.mints.count(now_s):
            self.refused["mint_429"] += 1
            return RetryLater("http_429", throttled=True)
        token = f"token-{len(self.minted_s)}"
        self.minted_s.append(now_s)
        self.tokens[token] = Window(60.0, REQUESTS)
        return Minted(token)

    def count(self, token: str, now_s: float) -> bool:
        """Count a request of a token; whether it is within the limits."""
        whole, own = self.account.count(now_s), self.tokens[token].count(now_s)
        return whole and own

    def post(self, token: str, now_s: float) -> PostVerdict:
        """Take a batch."""
        allowed = self.count(token, now_s)
        if now_s >= self.minted_s[int(token.removeprefix("token-"))] + TOKEN_LIFE_S:
            self.refused["401"] += 1
            return Reauthenticate("http_401")
        if not allowed:
            self.refused["429"] += 1
            return RetryLater("http_429", throttled=True, left=True)
        self.accepted_s.append(now_s)
        return Accepted(f"batch-{len(self.accepted_s)}")


class World:
    """One lane, its shell and the API, on one clock."""

    def __init__(self, seed: int, **changes: Any) -> None:
        self.api = StrictApi()
        self.now_s = 0.0
        self._rng = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._offsets = itertools.count()
        self._woken_s = float("inf")
        refs = (f"ref-{number}" for number in itertools.count())
        options = LaneOptions(
            ACCOUNT,
            records_max=1,
            tokens_max=TOKENS,
            requests_per_minute_per_token=REQUESTS,
            token_mints_per_30_min=MINTS,
            statuses="none",
        )
        options = replace(options, **changes)
        self.lane = Lane(options, Tools(random.Random(seed), lambda: next(refs), PlainSealer(), Packer()))

    def run(self, until_s: float) -> None:
        """Live until then, never short of work."""
        self._step()
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, event = heapq.heappop(self._events)
            event()

    def _now(self) -> Instant:
        return Instant(EPOCH_MS + round(self.now_s * 1000), self.now_s)

    def _at(self, when_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when_s, next(self._order), event))

    def _step(self) -> None:
        lane, now = self.lane, self._now()
        if lane.window.sendable < WAITING:
            lane.offer(*self._parcel(), now)
        for action in lane.step(now):
            self._perform(action)
        wake_s = max(lane.wake_at(now), self.now_s + TICK_S)
        if wake_s < self._woken_s or self._woken_s <= self.now_s:
            self._woken_s = wake_s
            self._at(wake_s, self._wake)

    def _wake(self) -> None:
        if self.now_s >= self._woken_s:
            self._woken_s = float("inf")
            self._step()

    def _parcel(self) -> tuple[int, Parcel]:
        offset = next(self._offsets)
        starts_at = self._now().wall_ms + 60_000
        rows = [
            Row(
                number,
                f"intent-{number}",
                "911234567",
                f"92{number:010}",
                label_id="label",
                starts_at=starts_at,
                ends_at=starts_at + 24 * 3_600_000,
            )
            for number in range(offset * WAITING, (offset + 1) * WAITING)
        ]
        return offset, Parcel(ACCOUNT, "intents", 0, rows)

    def _perform(self, action: Action) -> None:
        match action:
            case Write(serial=serial):
                if serial:
                    self._at(self.now_s + self._rng.uniform(*COMMIT_S), lambda: self._durable(serial))
            case Post():
                self.request(lambda now_s: self.api.post(action.token.secret, now_s), self._posted(action))
            case Mint():
                self.request(self.api.mint, answers.minted)
            case Check():
                self.check(action)

    def check(self, action: Check) -> None:
        """Ask for statuses."""
        raise AssertionError(f"statuses are not checked here, but {action.batch_ref}")

    def _durable(self, serial: int) -> None:
        self.lane.durable(serial)
        self._step()

    def _posted(self, action: Post) -> "Callable[[Lane, PostVerdict, int, Instant], Write]":
        return lambda lane, verdict, sent_ms, now: answers.posted(lane, action.batch_ref, verdict, sent_ms, now)

    def request(self, arrive: Callable[[float], V], ended: Callable[[Lane, V, int, Instant], Write]) -> None:
        """Let a request go to the API and its answer come back."""
        sent_ms = self._now().wall_ms

        def arrived() -> None:
            verdict = arrive(self.now_s)
            self._at(self.now_s + self._rng.uniform(*WAY_S), lambda: answered(verdict))

        def answered(verdict: V) -> None:
            self._perform(ended(self.lane, verdict, sent_ms, self._now()))
            self._step()

        self._at(self.now_s + self._rng.uniform(*WAY_S), arrived)


def measure(seed: int = 1) -> dict[str, object]:
    """Ramp up to ten tokens and go on for one hour.

    Returns the minutes until the pool was full; of the hour after it the share of 300,000 records a minute that was
    used and the least of any minute; 429s and 401s, the most mints in any 30 minutes, and the most requests in any 60
    seconds, of one token and of the account, all of the whole run; and how often tokens were minted.
    """
    began_s = time.perf_counter()
    world = World(seed)
    api = world.api
    world.run(HOUR_S)
    if len(api.minted_s) < TOKENS:
        return {"ramp_minutes": None, "tokens": len(api.minted_s)}
    full_s = api.minted_s[TOKENS - 1]
    world.run(full_s + HOUR_S + 60.0)
    minutes = [0] * 60
    for at_s in api.accepted_s:
        if full_s + 60.0 <= at_s < full_s + 60.0 + HOUR_S:
            minutes[int((at_s - full_s - 60.0) // 60)] += 1
    return {
        "ramp_minutes": round(full_s / 60, 1),
        "share_of_limit": round(sum(minutes) / (60 * TOKENS * REQUESTS), 4),
        "least_minute_share": round(min(minutes) / (TOKENS * REQUESTS), 4),
        "records_per_minute": round(sum(minutes) / 60 * RECORDS),
        "status_429": api.refused["429"] + api.refused["mint_429"],
        "status_401": api.refused["401"],
        "mints_per_30_min_max": api.mints.most,
        "mints": len(api.minted_s),
        "requests_per_60_s_max_token": max(window.most for window in api.tokens.values()),
        "requests_per_60_s_max_account": api.account.most,
        "seconds": round(time.perf_counter() - began_s, 1),
    }


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(measure())}\n")
