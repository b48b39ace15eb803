"""A committer on virtual time: units in one queue, committed in groups, visible all at once or not at all."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from streams.lane.actions import Write
from tests.lane.simulation.audit import Audit
from tests.lane.simulation.virtual_time import VirtualTime

# A request leaves only if a commit that began less than this ago has confirmed the lease.
FRESH_S = 5.0


@dataclass(slots=True)
class Unit:
    """What one write becomes: it is durable together with the offset."""

    account_id: str
    write: Write
    offset: int


class Committer:
    """``durable`` is called with the units of each commit, ``note`` with what is in it."""

    def __init__(
        self,
        time: VirtualTime,
        rng: random.Random,
        audit: Audit,
        durable: Callable[[list[Unit]], None],
        note: Callable[[str], None],
    ) -> None:
        self.latency_s = (0.005, 0.1)
        self._time = time
        self._rng = rng
        self._audit = audit
        self._durable = durable
        self._note = note
        self._queue: deque[Unit] = deque()
        self._running: list[Unit] = []
        self._scheduled = False
        self._stopped = False
        self._confirmed_s = float("-inf")

    @property
    def quiet(self) -> bool:
        return not self._queue and not self._running

    @property
    def fresh(self) -> bool:
        """Whether a commit has confirmed the lease lately."""
        return self._time.now_s < self._confirmed_s + FRESH_S

    def submit(self, unit: Unit) -> None:
        self._queue.append(unit)
        if not self._scheduled:
            self._scheduled = True
            self._time.call_in(self._rng.uniform(0, 0.02), self._begin)

    def stop(self) -> None:
        """Nothing is committed from here on. What was being committed may have made it."""
        if not self._stopped and self._running and self._rng.random() < 0.5:
            self._make_visible()
        self._stopped = True

    def _begin(self) -> None:
        if self._stopped:
            return
        count = self._rng.choice([1, 3, len(self._queue), len(self._queue)])
        self._running = [self._queue.popleft() for _ in range(min(count, len(self._queue)))]
        began_s = self._time.now_s
        self._time.call_in(self._rng.uniform(*self.latency_s), lambda: self._commit(began_s))

    def _commit(self, began_s: float) -> None:
        if self._stopped:
            return
        units = self._make_visible()
        self._confirmed_s = began_s
        if self._queue:
            self._time.call_in(0.02, self._begin)
        else:
            self._scheduled = False
        self._durable(units)

    def _make_visible(self) -> list[Unit]:
        units, self._running = self._running, []
        writes = [(unit.account_id, unit.write) for unit in units if unit.account_id]
        for account_id, write in writes:
            said = [(outcomes.status.value, len(outcomes.held)) for outcomes in write.outcomes]
            keys = [key if value is not None else f"-{key}" for key, value in write.entries]
            self._note(f"{account_id} COMMIT {keys} {said}")
        self._audit.committed(writes, units[-1].offset)
        return units
