"""The intents waiting in a lane, in the order in which they should leave.

Order is by effective deadline: the start of the call plus an allowance by priority. Two intents of one pair
(caller, receiver) never overtake each other: a later one stays behind until its predecessor is settled, and hands its
earlier deadline forward, so that a patient predecessor does not hold up an urgent successor. So a batch never holds
two intents of a pair.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Mapping

from streams.contracts.journal import Held, Place
from streams.contracts.parcel import Priority

Pair = tuple[str, str]

# Before every effective deadline.
_HASTENED = -1


# A position in the queue: effective deadline, number of arrival, `boot_s` of the intent's arrival, the intent. A plain
# tuple, because one is made for every intent there is.
Waiting = tuple[int, int, float, Held]


class Window:
    """The waiting intents of one account. Times in ``_ms`` are epoch milliseconds, those in ``_s`` are ``boot_s``.

    No waiting intent ends before ``ends_first_ms``. ``since_s`` is when the sendable intent arrived that has waited
    longest; it may be too early while more is sendable than was last taken, for then nothing waits for company. Both
    are infinity where nothing waits.
    """

    def __init__(self, priority_offsets_ms: Mapping[Priority, int]) -> None:
        self._offsets_ms = dict(priority_offsets_ms)
        self._queue: list[Waiting] = []
        self._arrivals = 0
        # Every unsettled pair: its leader where that waits in the queue, None where it travels in a batch.
        self._leaders: dict[Pair, Waiting | None] = {}
        self._successors: dict[Pair, deque[tuple[float, Held]]] = {}
        self._successors_count = 0
        self.ends_first_ms = float("inf")
        self.since_s = float("inf")
        # Queue entries whose intent has meanwhile been queued again under an earlier deadline.
        self._superseded: set[int] = set()

    def __len__(self) -> int:
        return self.sendable + self._successors_count

    @property
    def sendable(self) -> int:
        """Intents that could go into the next batch: all but those that wait for a predecessor."""
        return len(self._queue) - len(self._superseded)

    def first_deadline_ms(self) -> int | None:
        """The effective deadline of the intent that should leave first."""
        queue, superseded = self._queue, self._superseded
        while queue and queue[0][1] in superseded:
            superseded.remove(heapq.heappop(queue)[1])
        return queue[0][0] if queue else None

    def add(self, waiting: Iterable[Held], now_s: float) -> None:
        """Let intents wait, in order of places, each behind its predecessor if it has one."""
        offsets_ms, leaders = self._offsets_ms, self._leaders
        ends_first_ms = self.ends_first_ms
        for held in waiting:
            row = held.row
            ends_first_ms = min(ends_first_ms, row.ends_at)
            pair = (row.caller, row.receiver)
            deadline_ms = row.starts_at + offsets_ms[row.priority]
            if pair in leaders:
                self._successors.setdefault(pair, deque()).append((now_s, held))
                self._successors_count += 1
                self._hurry(pair, deadline_ms)
            else:
                self._lead(pair, held, deadline_ms, now_s)
        self.ends_first_ms = ends_first_ms

    def _lead(self, pair: Pair, held: Held, deadline_ms: int, since_s: float) -> None:
        self._arrivals += 1
        leader = self._leaders[pair] = (deadline_ms, self._arrivals, since_s, held)
        self.since_s = min(self.since_s, since_s)
        heapq.heappush(self._queue, leader)

    def _hurry(self, pair: Pair, deadline_ms: int) -> None:
        leader = self._leaders[pair]
        if leader is not None and deadline_ms < leader[0]:
            _, arrival, since_s, held = leader
            self._superseded.add(arrival)
            self._lead(pair, held, deadline_ms, since_s)

    def take(self, count_max: int) -> list[Held]:
        """Remove up to ``count_max`` intents from the front. Their pairs stay unsettled until :meth:`settled`."""
        taken: list[Held] = []
        queue, superseded, leaders = self._queue, self._superseded, self._leaders
        while queue and len(taken) < count_max:
            _, arrival, _, held = heapq.heappop(queue)
            if arrival in superseded:
                superseded.remove(arrival)
                continue
            row = held.row
            leaders[row.caller, row.receiver] = None
            taken.append(held)
        if len(queue) <= count_max:
            self._find_since()
        return taken

    def hasten_oldest(self, count: int) -> None:
        """Let the intents at the lowest places leave first, in the order of places, unless such are leaving already."""
        if self.first_deadline_ms() not in {None, _HASTENED}:
            live = self._live()
            self._hasten(live, heapq.nsmallest(count, live, key=lambda waiting: waiting[3].place))

    def hasten(self, chosen: Iterable[Held]) -> None:
        """Let these leave first, unless such are leaving already; those that wait for a predecessor go on waiting."""
        if self.first_deadline_ms() not in {None, _HASTENED}:
            places = {held.place for held in chosen}
            live = self._live()
            self._hasten(live, [waiting for waiting in live if waiting[3].place in places])

    def _hasten(self, live: list[Waiting], first: list[Waiting]) -> None:
        if not first:
            return
        chosen = {arrival for _, arrival, _, _ in first}
        self._rebuild([waiting for waiting in live if waiting[1] not in chosen])
        for _, _, since_s, held in first:
            self._lead((held.row.caller, held.row.receiver), held, _HASTENED, since_s)

    def below(self, place: Place) -> list[Held]:
        """All intents that wait at lower places, in no order."""
        below = [held for _, _, _, held in self._live() if held.place < place]
        below.extend(held for waiting in self._successors.values() for _, held in waiting if held.place < place)
        return below

    def travelling(self, held: Iterable[Held]) -> None:
        """Intents that a journaled batch already carries: their pairs are unsettled."""
        for one in held:
            self._leaders[one.row.caller, one.row.receiver] = None

    def settled(self, held: Iterable[Held]) -> None:
        """Intents that travelled are settled: the next of each pair may go."""
        leaders, successors = self._leaders, self._successors
        for one in held:
            pair = (one.row.caller, one.row.receiver)
            if pair in successors:
                self._promote(pair)
            else:
                leaders.pop(pair, None)

    def _promote(self, pair: Pair) -> None:
        waiting = self._successors[pair]
        since_s, held = waiting.popleft()
        self._successors_count -= 1
        if not waiting:
            del self._successors[pair]
        followers = (held, *(follower for _, follower in waiting))
        deadline_ms = min(one.row.starts_at + self._offsets_ms[one.row.priority] for one in followers)
        self._lead(pair, held, deadline_ms, since_s)

    def expire(self, ends_by_ms: int) -> list[Held]:
        """Remove all intents that end by then. Costs nothing while none can have ended."""
        if self.ends_first_ms > ends_by_ms:
            return []
        expired = self._expire_successors(ends_by_ms)
        live = self._live()
        leading = [held for _, _, _, held in live if held.row.ends_at <= ends_by_ms]
        self._rebuild([waiting for waiting in live if waiting[3].row.ends_at > ends_by_ms])
        self.settled(leading)
        ends = [held.row.ends_at for _, _, _, held in self._queue]
        ends.extend(held.row.ends_at for waiting in self._successors.values() for _, held in waiting)
        self.ends_first_ms = min(ends, default=float("inf"))
        return expired + leading

    def _expire_successors(self, ends_by_ms: int) -> list[Held]:
        expired: list[Held] = []
        for pair, waiting in list(self._successors.items()):
            kept = deque(one for one in waiting if one[1].row.ends_at > ends_by_ms)
            expired.extend(held for _, held in waiting if held.row.ends_at <= ends_by_ms)
            if kept:
                self._successors[pair] = kept
            else:
                del self._successors[pair]
        self._successors_count -= len(expired)
        return expired

    def _live(self) -> list[Waiting]:
        return [waiting for waiting in self._queue if waiting[1] not in self._superseded]

    def _rebuild(self, live: list[Waiting]) -> None:
        self._queue = live
        self._superseded.clear()
        heapq.heapify(self._queue)
        self._find_since()

    def _find_since(self) -> None:
        self.since_s = min((since_s for _, _, since_s, _ in self._live()), default=float("inf"))
