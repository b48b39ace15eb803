"""A clock that jumps from event to event, and processes that live on it."""

import heapq
import itertools
import random
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


class Process:
    """What a process has planned happens while it runs, waits while it is paused, and never once it is dead.

    Its clocks go on while it is paused, as they do under SIGSTOP. Whatever became due meanwhile happens at once when
    it goes on, in any order.
    """

    def __init__(self, time: VirtualTime, rng: random.Random) -> None:
        self.alive = True
        self._time = time
        self._rng = rng
        self._parked: list[Callable[[], object]] | None = None

    @property
    def paused(self) -> bool:
        return self._parked is not None

    def call_in(self, seconds: float, event: Callable[[], object]) -> None:
        self._time.call_in(seconds, lambda: self.enter(event))

    def call_at_us(self, when_us: int, event: Callable[[], object]) -> None:
        self._time.call_at_us(when_us, lambda: self.enter(event))

    def enter(self, event: Callable[[], object]) -> None:
        """Something reaches the process now."""
        if self.alive:
            if self._parked is None:
                event()
            else:
                self._parked.append(event)

    def pause(self) -> None:
        if self._parked is None:
            self._parked = []

    def resume(self) -> None:
        parked, self._parked = self._parked or [], None
        self._rng.shuffle(parked)
        for event in parked:
            self.enter(event)


class MachineClock:
    """The time of day of one machine: off by a little, and set right (or wrong) now and then.

    The clocks of any two machines are at most 5 s apart.
    """

    OFF_MS_MAX = 2500

    def __init__(self, rng: random.Random) -> None:
        self.off_ms = 0
        self._rng = rng
        if rng.random() < 0.6:
            self.jump()

    def jump(self) -> None:
        most = self.OFF_MS_MAX
        self.off_ms = self._rng.choice([0, -most, most, self._rng.randint(-most, most)])
