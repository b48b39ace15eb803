"""Reads intents as a worker would, and has the lanes rehearse what becomes of the valid ones.

What must stay true: each intent that is taken in is counted once: as invalid, as expired when it arrived, or as valid,
and then as sent or as expired while it waited. Memory depends on the accounts and on what waits at a time, not on how
many intents there are.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from streams.contracts.outcome import Reason
from streams.contracts.parcel import Row
from streams.intake.framing import Headers
from streams.intake.reader import Refused, ValidIntent, read_intent
from streams.intake.reasons import Code, because
from streams.intake.rules import IntakeRules
from streams.plan.cast import Cast, LaneOptionsOf
from streams.plan.rehearsal import Weather
from streams.plan.report import AccountPlan, Invalid, LingerPlan, Plan, PriorityPlan

# Lingers are compared over the first so many valid intents: what they cost shows in that, and a whole day need not be
# rehearsed once for each.
COMPARED_MAX: Final = 100_000


class Arrival(NamedTuple):
    """One message: when it arrives (epoch milliseconds), where to find it, and what it is.

    ``too_large`` is one that no message can hold, and that was not kept.
    """

    at_ms: int
    where: str
    value: bytes | None
    headers: Headers | None = None
    too_large: bool = False


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What to plan by. ``lingers_ms`` are those to compare; ``intents_max`` is what a worker may hold."""

    rules: IntakeRules
    lane_options_of: LaneOptionsOf
    intents_max: int
    lingers_ms: Sequence[int] = ()
    weather: Weather = field(default_factory=Weather)


@dataclass(slots=True)
class Planner:
    """Takes intents in the order in which they arrive, then tells the plan.

    ``notes`` are what else there is to say of where they came from; they are told before what is found.
    """

    options: PlanOptions
    notes: list[str] = field(default_factory=list)
    _read: int = 0
    _valid: int = 0
    _expired: int = 0
    _invalid: dict[str, Invalid] = field(default_factory=dict)
    _start_ms: int = 0
    _last_ms: int = 0
    _cast: Cast = field(init=False)
    _compared: list[Cast] = field(default_factory=list)

    def take(self, arrival: Arrival) -> None:
        """Take one message. One that says that it arrived earlier than the one before arrived with it."""
        self._arrived(arrival.at_ms)
        if arrival.too_large:
            self._refuse(because(Code.TOO_LARGE), arrival.where)
            return
        read = read_intent(arrival.value, arrival.headers, self.options.rules, self._last_ms)
        if isinstance(read, ValidIntent):
            self._valid += 1
            self._rehearse(read)
        elif isinstance(read, Refused):
            self._refuse(read.reason, arrival.where)
        else:
            self._expired += 1

    def _refuse(self, reason: Reason, where: str) -> None:
        code = str(reason.code)
        found = self._invalid.get(code) or Invalid(0, reason.message, where)
        self._invalid[code] = replace(found, count=found.count + 1)

    def _arrived(self, arrived_ms: int) -> None:
        if not self._read:
            self._start_ms = self._last_ms = arrived_ms
            lingers: list[int | None] = [None, *self.options.lingers_ms]
            self._cast, *self._compared = (self._new_cast(linger_ms) for linger_ms in lingers)
        self._read += 1
        self._last_ms = max(self._last_ms, arrived_ms)

    def _new_cast(self, linger_ms: int | None) -> Cast:
        options = self.options
        return Cast(options.lane_options_of, options.weather, options.intents_max, self._start_ms, linger_ms)

    def _rehearse(self, intent: ValidIntent) -> None:
        # One of many callers of one of many accounts: the same few texts over and over.
        caller, account_id = sys.intern(intent.caller), sys.intern(intent.account_id)
        row = Row(
            0,
            "",
            caller,
            intent.receiver,
            "",
            intent.starts_at,
            intent.ends_at,
            intent.priority,
            recorded_at=self._last_ms,
        )
        at_s = (self._last_ms - self._start_ms) / 1000
        self._cast.arrive(account_id, row, at_s)
        if self._valid <= COMPARED_MAX:
            for cast in self._compared:
                cast.arrive(account_id, row, at_s)

    def plan(self) -> Plan:
        """Let the lanes finish, and say what came of it all. To be asked once, after the last intent."""
        if not self._read:
            return Plan(notes=self.notes)
        self._cast.finish()
        for cast in self._compared:
            cast.finish()
        return Plan(
            read=self._read,
            invalid=self._invalid,
            expired_on_arrival=self._expired,
            first_ms=self._start_ms,
            last_ms=self._last_ms,
            accounts=[AccountPlan.of(account_id, part) for account_id, part in sorted(self._cast.parts.items())],
            priorities={name: PriorityPlan.of(fates) for name, fates in self._cast.fates().items()},
            lingers=[LingerPlan.of(cast) for cast in self._compared],
            compared=min(self._valid, COMPARED_MAX),
            notes=self.notes,
        )
