"""The lanes of all accounts under one linger, rehearsed side by side.

Accounts do not wait for each other: each lane has its own clock, and they share only the room of one worker.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from streams.contracts.parcel import Priority, Row
from streams.lane.options import LaneOptions
from streams.lane.reading import Room
from streams.plan.rehearsal import Rehearsal, Weather
from streams.plan.tally import MINUTE_S, Fates, Tally

LaneOptionsOf = Callable[[str], LaneOptions]


@dataclass(slots=True)
class Part:
    """One account: its rehearsal, how many intents came, and how many in its busiest minute (``boot_s`` minutes)."""

    rehearsal: Rehearsal
    intents: int = 0
    busiest_intents: int = 0
    last_arrival_s: float = 0.0
    _minute: int = -1
    _of_minute: int = 0

    @property
    def tally(self) -> Tally:
        """What came of its intents."""
        return self.rehearsal.tally

    def arrive(self, row: Row, at_s: float) -> None:
        """An intent arrives."""
        self.intents += 1
        self.last_arrival_s = at_s
        minute = int(at_s // MINUTE_S)
        if minute != self._minute:
            self._minute, self._of_minute = minute, 0
        self._of_minute += 1
        self.busiest_intents = max(self.busiest_intents, self._of_minute)
        self.rehearsal.arrive(row, at_s)

    def tokens_needed(self) -> int:
        """Tokens without which the intents of its busiest minute cannot leave within a minute, full batches or not."""
        options, tally = self.rehearsal.options, self.tally
        batches = self.busiest_intents / options.records_max
        checks = tally.requests["check"] / tally.batches if tally.batches else 0.0
        return max(1, math.ceil(batches * (1 + checks) / options.requests_per_minute_per_token))

    def tokens_used(self) -> int:
        """Tokens over which the requests of its busiest minute were spread, at least."""
        limit = self.rehearsal.options.requests_per_minute_per_token
        return max(1, math.ceil(self.tally.busiest / limit))


@dataclass(slots=True)
class Cast:
    """``linger_ms`` takes the place of what the options say; ``None`` leaves it."""

    options_of: LaneOptionsOf
    weather: Weather
    intents_max: int
    start_ms: int
    linger_ms: int | None = None
    parts: dict[str, Part] = field(default_factory=dict)
    _room: Room = field(init=False)

    def __post_init__(self) -> None:
        self._room = Room(self.intents_max)

    def arrive(self, account_id: str, row: Row, at_s: float) -> None:
        """An intent of an account arrives, after all that arrived before."""
        part = self.parts.get(account_id)
        if part is None:
            options = self.options_of(account_id)
            if self.linger_ms is not None:
                options = replace(options, linger_ms=self.linger_ms)
            rehearsal = Rehearsal(options, self.weather, self._room, self.start_ms)
            part = self.parts[account_id] = Part(rehearsal)
        part.arrive(row, at_s)

    def finish(self) -> None:
        """Nothing arrives any more."""
        for part in self.parts.values():
            part.rehearsal.finish()

    def requests(self) -> Counter[str]:
        """All requests by kind."""
        return sum((part.tally.requests for part in self.parts.values()), Counter())

    def batches(self) -> int:
        """All batches."""
        return sum(part.tally.batches for part in self.parts.values())

    def fates(self) -> dict[Priority, Fates]:
        """What became of all intents, by priority."""
        found: dict[Priority, Fates] = {}
        for part in self.parts.values():
            for priority, fates in part.tally.fates.items():
                found.setdefault(priority, Fates()).include(fates)
        return found
