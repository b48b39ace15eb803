"""One account on virtual time: its dialers, its lane as a worker runs it, Kafka's latencies, and an exact API."""

import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.budget.traffic import EPOCH_MS, PARCEL_S, Traffic
from streams.contracts.journal import Packer
from streams.contracts.parcel import Parcel
from streams.lane import answers
from streams.lane.actions import Action, Check, Mint, Post, Write
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.options import LaneOptions
from streams.lane.reading import Reading, Room
from streams.lane.state import Tools
from streams.lane.verdict import (
    Accepted,
    CheckVerdict,
    Minted,
    PostVerdict,
    RecordState,
    RecordStatus,
    RetryLater,
    Statuses,
    TokenVerdict,
)

# A group commit to be waited for, and what an answer takes at the least and at the most.
COMMIT_S = 0.03
ANSWER_S = (0.05, 0.2)

# The schedule's resolution, as in the worker.
TICK_S = 0.001

# How often a worker keeps house: who is behind, and reading again what was missed.
TEND_S = 1.0
RECALL_PARCELS = 20

ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"

# Refused, as long as the API is down: nothing was sent.
DOWN = RetryLater("unreachable")


class PlainSealer:
    """Nothing is written down here."""

    def seal(self, token: str) -> str:
        """As it is."""
        return token

    def open(self, sealed: str) -> str | None:
        """As it was."""
        return sealed


@dataclass(slots=True)
class Api:
    """Takes so many requests of a token in any 60 s and throws back the others; ``down`` from and until, in seconds."""

    requests_per_minute: int = 60
    down: tuple[float, float] = (float("inf"), float("inf"))
    throttled: int = 0
    requests: int = 0
    tried_while_down: int = 0
    _recent: dict[str, deque[float]] = field(default_factory=dict)

    def takes(self, token: str, now_s: float) -> RetryLater | None:
        """A request arrives; ``None`` if it is granted."""
        if self.down[0] <= now_s < self.down[1]:
            self.tried_while_down += 1
            return DOWN
        recent = self._recent.setdefault(token, deque())
        while recent and recent[0] <= now_s - 60.0:
            recent.popleft()
        if len(recent) >= self.requests_per_minute:
            self.throttled += 1
            return RetryLater("429", throttled=True)
        recent.append(now_s)
        self.requests += 1
        return None


class AccountRun:
    """Runs an account from 0 s on. ``told`` gets every write of the lane and the second at which it was written."""

    def __init__(
        self, traffic: Traffic, options: LaneOptions, api: Api, told: Callable[[Write, float], None], seed: int = 1
    ) -> None:
        self.now_s = 0.0
        self.api = api
        self.lane = Lane(options, self._tools(seed))
        self.reading = Reading(0, Room(400_000))
        self.reading.adopt(self.lane)
        self.steps: Counter[int] = Counter()
        self.posts: list[tuple[float, int]] = []
        self.checks = 0
        self.offered = 0
        self._traffic = traffic
        self._told = told
        self._rng = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._wake_s = float("inf")
        self._parcels = 0
        self._confirmed = True
        self._durable: list[int] = []
        self._at(TEND_S, self._tend)

    def _tools(self, seed: int) -> Tools:
        refs = itertools.count(1)
        return Tools(random.Random(seed), lambda: f"ref-{next(refs):08}", PlainSealer(), Packer())

    @property
    def now(self) -> Instant:
        """The time, on both clocks."""
        return Instant(EPOCH_MS + round(self.now_s * 1000), self.now_s)

    def run(self, until_s: float) -> None:
        """Let everything happen up to then; parcels that arrive while the lane is full are read again later."""
        while self._next_at() <= until_s:
            arrival_s = (self._parcels + 1) * PARCEL_S
            if self._events and self._events[0][0] < arrival_s:
                self.now_s, _, event = heapq.heappop(self._events)
                event()
            else:
                self.now_s = arrival_s
                self._read()
        self.now_s = until_s

    def missed(self) -> int:
        """Intents that the lane has passed over and will read again."""
        mark = self.lane.mark
        if mark is None:
            return 0
        return sum(len(self._traffic.parcel(offset)) for offset in range(mark, self.reading.offset.position))

    def _next_at(self) -> float:
        return min(self._events[0][0], (self._parcels + 1) * PARCEL_S)

    def _at(self, when_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when_s, next(self._order), event))

    # -- reading

    def _read(self) -> None:
        rows = self._traffic.parcel(self._parcels)
        offset, self._parcels = self._parcels, self._parcels + 1
        reading, lane = self.reading, self.lane
        self.offered += len(rows)
        if rows and lane.mark is None:
            if reading.full(lane):
                self._submit(reading.pass_over(lane, offset))
            elif reading.offer(lane, offset, Parcel(ACCOUNT, "intents", 0, rows), self.now):
                self._drive()
        reading.offset.read_to(self._parcels)

    def _tend(self) -> None:
        self._at(self.now_s + TEND_S, self._tend)
        reading = self.reading
        while (lagging := reading.lagging(self.now)) is not None:
            self._submit(reading.fall_behind(lagging))
        for behind in list(reading.behind):
            if reading.caught_up(behind, reading.offset.committable()):
                self._submit(reading.catch_up(behind, self.now))
        self._recall()

    def _recall(self) -> None:
        reading, lane = self.reading, self.lane
        took = False
        while (start := reading.recall_from()) is not None:
            end = min(start + RECALL_PARCELS, reading.offset.position)
            for offset in range(start, end):
                if reading.wants(lane, offset, start):
                    rows = self._traffic.parcel(offset)
                    took |= reading.recall(lane, offset, Parcel(ACCOUNT, "intents", 0, rows), self.now)
            reading.recalled_to(start, end)
        if took:
            self._drive()

    # -- the lane

    def _drive(self) -> None:
        self.steps[int(self.now_s)] += 1
        for action in self.lane.step(self.now):
            self._perform(action)
        wake_s = self.lane.wake_at(self.now)
        if wake_s != self._wake_s:
            self._wake_s = wake_s
            if wake_s < float("inf"):
                self._at(max(wake_s, self.now_s + TICK_S), lambda: self._woken(wake_s))

    def _woken(self, wake_s: float) -> None:
        if self._wake_s == wake_s:
            self._wake_s = float("inf")
            self._drive()

    def _perform(self, action: Action) -> None:
        match action:
            case Write():
                self._submit(action)
            case Post():
                self._post(action)
            case Check():
                self._check(action)
            case Mint():
                self._mint()

    def _submit(self, write: Write) -> None:
        self.reading.written(self.lane, write)
        self._told(write, self.now_s)
        if write.serial:
            serial = write.serial
            self._at(self.now_s + COMMIT_S, lambda: self._committed(serial))

    def _committed(self, serial: int) -> None:
        self.lane.durable(serial)
        self._drive()

    # -- requests

    def _post(self, action: Post) -> None:
        if not self.lane.may_leave(self.lane.batches[action.batch_ref], self.now):
            self._finish(self.lane.not_sent(self.lane.batches[action.batch_ref], self.now))
            return
        sent_ms = self.now.wall_ms
        self.posts.append((self.now_s, len(action.held)))
        refused = self.api.takes(action.token.secret, self.now_s)
        verdict: PostVerdict = refused or Accepted(f"id-{action.batch_ref}")
        self._answer(lambda: answers.posted(self.lane, action.batch_ref, verdict, sent_ms, self.now))

    def _check(self, action: Check) -> None:
        sent_ms = self.now.wall_ms
        self.checks += 1
        refused = self.api.takes(action.token.secret, self.now_s)
        verdict: CheckVerdict = refused or Statuses(self._statuses(action.batch_ref))
        self._answer(lambda: answers.checked(self.lane, action.batch_ref, verdict, sent_ms, self.now))

    def _statuses(self, ref: str) -> tuple[RecordStatus, ...]:
        rows = [held.row for held in self.lane.batches[ref].unsettled(self.lane.tools.packer)]
        return tuple(
            RecordStatus(
                row.intent_id,
                row.caller,
                row.receiver,
                row.label_id,
                None,
                None,
                row.starts_at,
                row.ends_at,
                RecordState.DELIVERED,
                "success",
                None,
            )
            for row in rows
        )

    def _mint(self) -> None:
        sent_ms = self.now.wall_ms
        down = self.api.down[0] <= self.now_s < self.api.down[1]
        verdict: TokenVerdict = DOWN if down else Minted(f"token-{next(self._order)}")
        self._answer(lambda: answers.minted(self.lane, verdict, sent_ms, self.now))

    def _answer(self, answered: Callable[[], Write]) -> None:
        self._at(self.now_s + self._rng.uniform(*ANSWER_S), lambda: self._finish(answered()))

    def _finish(self, write: Write) -> None:
        self._submit(write)
        self._drive()
