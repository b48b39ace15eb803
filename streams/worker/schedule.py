"""When each lane of a worker is stepped next: one queue and one timer for all of them.

Ten thousand lanes cost no more than those that have something to do: a lane that waits for nothing is in no queue. What
must stay true: whoever asks to be stepped is, in the order of asking, however many others there are; while many are
stepped, the event loop goes on in between.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from streams.worker.clock import boot_s
from streams.worker.owned import OwnedLane

# The resolution of the schedule; also keeps a lane that is always due from starving everything else.
TICK_S = 0.001

# So long lanes are stepped before others have the loop for a moment: answers, commits and health checks are not late.
SLICE_S = 0.02

# Times that no longer hold are left in the queue until there are more of them than lanes, and more than this.
STALE_MIN = 1000


@dataclass(eq=False, slots=True)
class Schedule:
    """Calls ``step`` for each lane whose time has come, or to which something happened."""

    step: Callable[[OwnedLane], None]
    _queue: list[tuple[float, int, OwnedLane]] = field(default_factory=list)
    _queued: int = 0
    _order: "itertools.count[int]" = field(default_factory=itertools.count)
    _touched: dict[OwnedLane, None] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Step lanes until cancelled."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None
        while True:
            await self._wake.wait()
            self._wake.clear()
            if timer is not None:
                timer.cancel()
            await self._step_due()
            timer = None
            if self._queue:
                timer = loop.call_later(max(TICK_S, self._queue[0][0] - boot_s()), self._wake.set)

    def touch(self, lanes: Iterable[OwnedLane]) -> None:
        """Something happened to these lanes: step them soon."""
        self._touched.update(dict.fromkeys(lanes))
        self._wake.set()

    def at(self, owned: OwnedLane, wake_at_s: float) -> None:
        """Step this lane then (``boot_s``), and not when it was said before; never, where it is infinity."""
        if wake_at_s == owned.wake_at_s:
            return
        if owned.wake_at_s == float("inf"):
            self._queued += 1
        owned.wake_at_s = wake_at_s
        if wake_at_s < float("inf"):
            heapq.heappush(self._queue, (wake_at_s, next(self._order), owned))
        else:
            self._queued -= 1
        if len(self._queue) > 2 * self._queued + STALE_MIN:
            self._queue = [entry for entry in self._queue if entry[2].wake_at_s == entry[0]]
            heapq.heapify(self._queue)

    async def _step_due(self) -> None:
        due = self._due()
        until_s = boot_s() + SLICE_S
        for owned in due:
            self.step(owned)
            if boot_s() >= until_s:
                await asyncio.sleep(0)
                until_s = boot_s() + SLICE_S

    def _due(self) -> dict[OwnedLane, None]:
        now_s = boot_s()
        due, self._touched = self._touched, {}
        while self._queue and self._queue[0][0] <= now_s:
            wake_at_s, _, owned = heapq.heappop(self._queue)
            if owned.wake_at_s == wake_at_s:
                self.at(owned, float("inf"))  # it is scheduled no more, and may ask for this very time again
                due[owned] = None
        return due
