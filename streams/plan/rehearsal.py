"""One account's lane on virtual time, against an API that takes everything.

Decided here: what the world around a lane does in a plan. A commit takes :data:`COMMIT_S`, an answer
:attr:`Weather.answer_s`, and statuses are final :attr:`Weather.status_delay_s` after a batch was taken. What must stay
true: the lane is the one that workers run, and is asked and told what a worker asks and tells it.
"""

import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from streams.contracts.journal import Held, Packer, Place
from streams.contracts.parcel import Parcel, Row
from streams.lane import answers
from streams.lane.actions import Action, Check, Mint, Post, Write
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.options import LaneOptions
from streams.lane.reading import Room
from streams.lane.state import Tools
from streams.lane.verdict import Accepted, Minted, RecordState, RecordStatus, Statuses
from streams.plan.tally import Tally

# What a group commit of a worker takes on a quiet cluster.
COMMIT_S: Final = 0.03

# An intent that is due this soon after the lane wants to be woken is shown to it at once: it may want to be woken now.
HURRY_S: Final = 2.0

# Of so many cursors that a worker would write, one is looked at.
LOOK_EVERY: Final = 8

# Nobody looks at a status in a plan but for its being final: one record and one intent stand for all of a batch.
_FINAL: Final = RecordStatus(None, None, None, None, None, None, None, None, RecordState.DELIVERED, "success", None)
_ANYBODY: Final = Held(Place(0, 0), "", 0, Row(0, "", "", "", "", 0, 0))


@dataclass(frozen=True, slots=True)
class Weather:
    """How fast the API is: seconds until an answer, and until the statuses of a batch that it took are final."""

    answer_s: float = 0.2
    status_delay_s: float = 5.0


class _Kept(Packer):
    """Keeps nothing of a batch: once the API has it, only the number of its intents is asked for."""

    def pack(self, _held: Sequence[Held]) -> bytes:
        return b""

    def unpack(self, _value: bytes) -> list[Held]:
        return [_ANYBODY]


class _Unsealed:
    """Tokens of a plan open nothing."""

    def seal(self, token: str) -> str:
        return token

    def open(self, sealed: str) -> str | None:
        return sealed


class _Unwritten(Lane):
    """A lane whose cursor is not journaled: in overload that is most of a lane's work.

    How long its cursor would be decides what leaves first, so that is found out now and then.
    """

    _cursors = 0

    def journal_cursor(self, _write: Write) -> None:
        self._cursors += 1
        if self._cursors % LOOK_EVERY == 0:
            self.cursor.entry()


_PACKER: Final = _Kept()


@dataclass(slots=True)
class Rehearsal:
    """Runs the lane of ``options``; ``room`` is shared by all lanes of one plan, as a worker's lanes share theirs.

    ``start_ms`` is the wall clock at second 0 of the rehearsal, before which nothing arrives.
    """

    options: LaneOptions
    weather: Weather
    room: Room
    start_ms: int
    tally: Tally = field(init=False)
    _lane: Lane = field(init=False)
    _now_s: float = 0.0
    _wake_s: float = float("inf")
    _held: int = 0
    _parcels: int = 0
    _outside: list[Row] = field(default_factory=list)
    _happens: list[tuple[float, int, Callable[[Instant], None]]] = field(default_factory=list)
    _order: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        # Whether a label exists only the API knows.
        self.options = replace(self.options, labels="off")
        refs = map(str, itertools.count())
        tools = Tools(random.Random(self.options.account_id), refs.__next__, _Unsealed(), _PACKER)
        self._lane = _Unwritten(self.options, tools)
        self.tally = Tally(self.options.records_max, self.options.priority_offsets_ms)
        self.room.lanes += 1

    def arrive(self, row: Row, at_s: float) -> None:
        """An intent arrives, after all that arrived before. It waits outside while the lane is full.

        It is handed to the lane when that makes a difference: by itself where the lane waits for nothing, together with
        others once they fill a batch, or before whatever the lane does next.
        """
        self._advance(at_s)
        self._outside.append(row)
        if self._matters(row):
            self._hand_in()

    def _matters(self, row: Row) -> bool:
        """Whether the lane may want something else once it knows of this intent."""
        outside, held, records_max = len(self._outside), self._held, self.options.records_max
        if held >= records_max:
            return outside >= records_max
        due_ms = row.starts_at + self.options.priority_offsets_ms[row.priority] - self.start_ms
        return not held or held + outside >= records_max or due_ms / 1000 - HURRY_S < self._wake_s

    def _hand_in(self) -> None:
        while self._held >= self.room.limit(self._lane) and self._turn():
            pass
        rows, self._outside = self._outside, []
        now = self._now()
        self._lane.offer(self._parcels, Parcel("", "", 0, rows), now)
        self._parcels += 1
        self._count()
        self._wake_s = self._lane.wake_at(now)

    def finish(self) -> None:
        """Nothing arrives any more: let the lane finish what it has."""
        if self._outside:
            self._hand_in()
        while not self._lane.idle and self._turn():
            pass

    def _now(self) -> Instant:
        return Instant(self.start_ms + round(self._now_s * 1000), self._now_s)

    def _advance(self, until_s: float) -> None:
        while self._next_s() <= until_s:
            if self._outside:
                self._hand_in()
            else:
                self._turn()
        self._now_s = max(self._now_s, until_s)

    def _next_s(self) -> float:
        return min(self._wake_s, self._happens[0][0]) if self._happens else self._wake_s

    def _turn(self) -> bool:
        """Go on to the next moment at which something happens; whether there is one."""
        next_s = self._next_s()
        if next_s == float("inf"):
            return False
        self._now_s = max(self._now_s, next_s)
        now = self._now()
        while self._happens and self._happens[0][0] <= self._now_s:
            heapq.heappop(self._happens)[2](now)
        self._perform(self._lane.step(now), now)
        self._count()
        self._wake_s = self._lane.wake_at(now)
        return True

    def _perform(self, actions: Iterable[Action], now: Instant) -> None:
        for action in actions:
            match action:
                case Write():
                    self._written(action, now)
                case Post():
                    self._in(self.weather.answer_s, self._posted(action.batch_ref, now.wall_ms))
                case Check():
                    self._in(self.weather.answer_s, self._checked(action.batch_ref, now))
                case Mint():
                    self._in(self.weather.answer_s, self._minted(now.wall_ms))

    def _in(self, seconds: float, happens: Callable[[Instant], None]) -> None:
        heapq.heappush(self._happens, (self._now_s + seconds, next(self._order), happens))

    def _written(self, write: Write, now: Instant) -> None:
        self.tally.written(write, now.wall_ms, now.boot_s)
        if write.serial:
            serial = write.serial
            self._in(COMMIT_S, lambda _now: self._lane.durable(serial))

    def _posted(self, ref: str, sent_ms: int) -> Callable[[Instant], None]:
        return lambda now: self._written(answers.posted(self._lane, ref, Accepted(ref), sent_ms, now), now)

    def _checked(self, ref: str, sent: Instant) -> Callable[[Instant], None]:
        batch = self._lane.batches[ref]
        known = sent.boot_s - batch.accepted_s >= self.weather.status_delay_s
        verdict = Statuses((_FINAL,) if known else ())
        return lambda now: self._written(answers.checked(self._lane, ref, verdict, sent.wall_ms, now), now)

    def _minted(self, sent_ms: int) -> Callable[[Instant], None]:
        return lambda now: self._written(answers.minted(self._lane, Minted("planned"), sent_ms, now), now)

    def _count(self) -> None:
        waiting = len(self._lane.window)
        self.room.held += waiting - self._held
        self._held = waiting
