"""What came of the intents of one rehearsed lane, in numbers whose size does not grow with their count."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from operator import add
from typing import Final

from streams.contracts.outcome import Status
from streams.contracts.parcel import Priority
from streams.lane.actions import Outcomes, Write

# Upper bounds in seconds, each 5 % above the one before, from a millisecond to a month: fine enough to decide by, few
# enough to keep.
_BOUNDS: Final = tuple(0.001 * 1.05**step for step in range(450))

MINUTE_S: Final = 60.0


@dataclass(slots=True)
class Durations:
    """A distribution of seconds, to 5 %."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))
    most_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(_BOUNDS, seconds)] += 1
        self.most_s = max(self.most_s, seconds)

    def include(self, others: "Durations") -> None:
        """Count all of ``others``."""
        self.counts = list(map(add, self.counts, others.counts))
        self.most_s = max(self.most_s, others.most_s)

    def quantile(self, share: float) -> float | None:
        """The seconds that a ``share`` (0..1) of them do not exceed; ``None`` where there are none."""
        below = list(accumulate(self.counts))
        if not below[-1]:
            return None
        bucket = bisect_left(below, share * below[-1])
        return min(self.most_s, _BOUNDS[bucket]) if bucket < len(_BOUNDS) else self.most_s


@dataclass(slots=True)
class Fates:
    """What became of the valid intents of one priority.

    ``late`` were sent after their effective deadline; ``expired`` are those whose call was over before they could be.
    ``waits`` is from their arrival until the API had them.
    """

    sent: int = 0
    late: int = 0
    expired: int = 0
    waits: Durations = field(default_factory=Durations)

    def include(self, others: "Fates") -> None:
        """Count all of ``others``."""
        self.sent += others.sent
        self.late += others.late
        self.expired += others.expired
        self.waits.include(others.waits)


@dataclass(slots=True)
class Tally:
    """Counts over one lane. ``requests`` by kind, ``fates`` by priority; times are seconds of the rehearsal.

    ``full`` batches hold as many records as the settings allow. ``busiest`` is the most requests of any minute.
    """

    records_max: int
    offsets_ms: Mapping[Priority, int]
    fates: dict[Priority, Fates] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    batches: int = 0
    full: int = 0
    last_sent_s: float = 0.0
    last_known_s: float = 0.0
    busiest: int = 0
    _minute: int = -1
    _of_minute: int = 0

    def written(self, write: Write, now_ms: int, now_s: float) -> None:
        """A write of the lane."""
        for record in write.requests:
            self.requests[record.request] += 1
            self._in_minute(int(now_s // MINUTE_S))
        for facts in write.events:
            if facts.event == "accepted":
                self.batches += 1
                self.full += facts.records >= self.records_max
                self.last_sent_s = now_s
        for group in write.outcomes:
            if group.status is Status.ACCEPTED:
                self._sent(group, now_ms)
            elif group.status is Status.EXPIRED:
                for held in group.held:
                    self.fate(held.row.priority).expired += 1
            self.last_known_s = now_s

    def fate(self, priority: Priority) -> Fates:
        """What became of the intents of a priority."""
        found = self.fates.get(priority)
        if found is None:
            found = self.fates[priority] = Fates()
        return found

    def _sent(self, group: Outcomes, now_ms: int) -> None:
        offsets_ms, fate_of = self.offsets_ms, self.fate
        for held in group.held:
            row = held.row
            fate = fate_of(row.priority)
            fate.sent += 1
            fate.late += now_ms > row.starts_at + offsets_ms[row.priority]
            fate.waits.add((now_ms - row.recorded_at) / 1000)

    def _in_minute(self, minute: int) -> None:
        if minute != self._minute:
            self._minute, self._of_minute = minute, 0
        self._of_minute += 1
        self.busiest = max(self.busiest, self._of_minute)
