"""One account's lane on virtual time: Kafka's latencies around it, and an exact API behind.

Decided here: what a worker does for a lane, in little. The lane is the real one; the clock jumps from event to event,
so that an hour takes seconds. What must stay true: an action of the lane is performed when it asks for it, never
earlier, and it hears of what came of it after the latencies that were chosen.
"""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from bench.budget.api import Api
from bench.budget.traffic import EPOCH_MS
from streams.contracts.journal import Packer
from streams.lane import answers
from streams.lane.actions import Action, Check, Mint, Post, Write
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.options import LaneOptions
from streams.lane.state import Tools

ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"

# The schedule's resolution, as in the worker.
TICK_S = 0.001

Span = tuple[float, float]
V = TypeVar("V")


class Latency(NamedTuple):
    """Seconds, each drawn evenly between two bounds: a group commit, and the ways to the API and back."""

    commit_s: Span = (0.03, 0.03)
    there_s: Span = (0.0, 0.0)
    back_s: Span = (0.05, 0.2)


class PlainSealer:
    """Nothing is written down here."""

    def seal(self, token: str) -> str:
        """As it is."""
        return token

    def open(self, sealed: str) -> str | None:
        """As it was."""
        return sealed


class World:
    """Runs a lane from 0 s on. ``supply`` is called before each step of it, and may offer intents.

    ``wrote`` are told of every write of the lane, as it is written. ``posts`` are the POSTs that left, with their
    records; ``steps`` how often the lane was stepped in each second.
    """

    def __init__(
        self,
        options: LaneOptions,
        api: Api,
        latency: Latency,
        supply: "Callable[[World], None]" = lambda _: None,
        seed: int = 1,
    ) -> None:
        refs = (f"ref-{number:08}" for number in itertools.count(1))
        self.now_s = 0.0
        self.api = api
        self.lane = Lane(options, Tools(random.Random(seed), refs.__next__, PlainSealer(), Packer()))
        self.wrote: list[Callable[[Write], None]] = []
        self.posts: list[tuple[float, int]] = []
        self.steps: Counter[int] = Counter()
        self._latency = latency
        self._supply = supply
        self._rng = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._wake_s = float("inf")

    @property
    def now(self) -> Instant:
        """The time, on both clocks."""
        return Instant(EPOCH_MS + round(self.now_s * 1000), self.now_s)

    def run(self, until_s: float) -> None:
        """Let everything happen up to then."""
        if not self.now_s:
            self.drive()
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, event = heapq.heappop(self._events)
            event()
        self.now_s = until_s

    def at(self, when_s: float, event: Callable[[], None]) -> None:
        """Let something happen then."""
        heapq.heappush(self._events, (when_s, next(self._order), event))

    def drive(self) -> None:
        """Ask the lane what to do now, and do it."""
        self._supply(self)
        self.steps[int(self.now_s)] += 1
        for action in self.lane.step(self.now):
            self._perform(action)
        wake_s = self.lane.wake_at(self.now)
        if wake_s != self._wake_s:
            self._wake_s = wake_s
            if wake_s < float("inf"):
                self.at(max(wake_s, self.now_s + TICK_S), lambda: self._woken(wake_s))

    def _woken(self, wake_s: float) -> None:
        if self._wake_s == wake_s:
            self._wake_s = float("inf")
            self.drive()

    def write(self, write: Write) -> None:
        """What the lane wants written; it hears of it once it is durable."""
        for told in self.wrote:
            told(write)
        if write.serial:
            self.at(self.now_s + self._drawn(self._latency.commit_s), lambda: self._durable(write.serial))

    def _durable(self, serial: int) -> None:
        self.lane.durable(serial)
        self.drive()

    def _perform(self, action: Action) -> None:
        match action:
            case Write():
                self.write(action)
            case Post():
                self._post(action)
            case Check():
                self._check(action)
            case Mint():
                self._request(self.api.mint, answers.minted)

    # -- requests

    def _post(self, action: Post) -> None:
        batch = self.lane.batches[action.batch_ref]
        if not self.lane.may_leave(batch, self.now):
            self._ended(self.lane.not_sent(batch, self.now))
            return
        self.posts.append((self.now_s, len(action.held)))
        self._request(
            lambda now_s: self.api.post(action, now_s),
            lambda lane, verdict, sent_ms, now: answers.posted(lane, action.batch_ref, verdict, sent_ms, now),
        )

    def _check(self, action: Check) -> None:
        rows = [held.row for held in self.lane.batches[action.batch_ref].unsettled(self.lane.tools.packer)]
        self._request(
            lambda now_s: self.api.check(action, rows, now_s),
            lambda lane, verdict, sent_ms, now: answers.checked(lane, action.batch_ref, verdict, sent_ms, now),
        )

    def _request(self, arrive: Callable[[float], V], ended: Callable[[Lane, V, int, Instant], Write]) -> None:
        """Let a request go to the API and its answer come back."""
        sent_ms = self.now.wall_ms

        def arrived() -> None:
            verdict = arrive(self.now_s)
            self.at(
                self.now_s + self._drawn(self._latency.back_s),
                lambda: self._ended(ended(self.lane, verdict, sent_ms, self.now)),
            )

        self.at(self.now_s + self._drawn(self._latency.there_s), arrived)

    def _ended(self, write: Write) -> None:
        self.write(write)
        self.drive()

    def _drawn(self, span_s: Span) -> float:
        """Drawn between two bounds; bounds that are the same cost no chance."""
        least_s, most_s = span_s
        return least_s if least_s == most_s else self._rng.uniform(least_s, most_s)
