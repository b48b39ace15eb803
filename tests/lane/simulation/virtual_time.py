"""A clock that jumps from event to event."""

import heapq
import itertools
from collections.abc import Callable

EPOCH_MS = 1_700_000_000_000


class VirtualTime:
    """Events in the order of their time; those of one moment in the order in which they were asked for."""

    def __init__(self) -> None:
        self.now_us = 0
        self._events: list[tuple[int, int, Callable[[], object]]] = []
        self._order = itertools.count()

    @property
    def now_s(self) -> float:
        return self.now_us / 1e6

    @property
    def wall_ms(self) -> int:
        """The true time of day. A worker's own clock may be a little off."""
        return EPOCH_MS + self.now_us // 1000

    def call_in(self, seconds: float, event: Callable[[], object]) -> None:
        self.call_at_us(self.now_us + max(0, round(seconds * 1e6)), event)

    def call_at_us(self, when_us: int, event: Callable[[], object]) -> None:
        heapq.heappush(self._events, (max(when_us, self.now_us), next(self._order), event))

    def step(self) -> bool:
        """Let the next event happen; ``False`` if there is none."""
        if not self._events:
            return False
        self.now_us, _, event = heapq.heappop(self._events)
        event()
        return True
