"""The intents waiting in a lane, in the order in which they should leave.

Order is by effective deadline: the start of the call plus an allowance by priority. Where the first is late, there is
too little for all: from then on each class gets its share of every batch (:mod:`streams.lane.shares`), in the order of
its own deadlines, and a call that is far ahead only gets what the near ones leave.

Two intents of one pair (caller, receiver) never overtake each other: a later one stays behind until its predecessor is
settled. It hands its earlier deadline and its higher class forward, so that a patient predecessor does not hold up an
urgent successor. So a batch never holds two intents of a pair.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from streams.contracts.journal import Held, Place
from streams.contracts.parcel import Priority
from streams.lane.endings import Endings
from streams.lane.shares import CLASSES, Shares

Pair = tuple[str, str]

# Before every effective deadline.
_HASTENED = -1

# Under overload a call further ahead than this waits until there is room that no nearer call of any class wants:
# an important campaign for this evening does not cost anybody who is called now.
NEAR_MS = 300_000

# Entries that are no longer true are left in the queues until there are more of them than of the others.
_SUPERSEDED_MIN = 1000

# Where more than two full batches are sendable, nothing waits for company, and since when does not matter.
_COMPANY_MAX = 1000

# A position in the queue: effective deadline, number of arrival, `boot_s` of the intent's arrival, the intent, its
# class. A plain tuple, because one is made for every intent there is.
Waiting = tuple[int, int, float, Held, int]


class Window:
    """The waiting intents of one account. Times in ``_ms`` are epoch milliseconds, those in ``_s`` are ``boot_s``.

    ``since_s`` is when the sendable intent arrived that has waited longest; it may be too early while more is sendable
    than was last taken, for then nothing waits for company. It is infinity where nothing waits.
    """

    def __init__(self, priority_offsets_ms: Mapping[Priority, int]) -> None:
        self._offsets_ms = [priority_offsets_ms[priority] for priority in CLASSES]
        self._ranks = {priority: (rank, self._offsets_ms[rank]) for rank, priority in enumerate(CLASSES)}
        self._queues: list[list[Waiting]] = [[] for _ in CLASSES]
        self._shares = Shares()
        self._arrivals = 0
        # Every unsettled pair: its leader where that waits in a queue, None where it travels in a batch.
        self._leaders: dict[Pair, Waiting | None] = {}
        self._successors: dict[Pair, deque[tuple[float, Held]]] = {}
        self._successors_count = 0
        self._endings = Endings()
        self.since_s = float("inf")
        # Queue entries whose intent has left since, or has been queued again with an earlier deadline.
        self._superseded: set[int] = set()

    def __len__(self) -> int:
        return self.sendable + self._successors_count

    @property
    def sendable(self) -> int:
        """Intents that could go into the next batch: all but those that wait for a predecessor."""
        high, normal, low = self._queues
        return len(high) + len(normal) + len(low) - len(self._superseded)

    @property
    def ends_first_ms(self) -> float:
        """No waiting intent ends before; infinity where none waits."""
        return self._endings.first_ms

    def first_deadline_ms(self) -> int | None:
        """The effective deadline of the intent that should leave first."""
        if self._superseded:
            self._uncover()
        return min((queue[0][0] for queue in self._queues if queue), default=None)

    def _uncover(self) -> None:
        """See to it that what stands first in a queue is true."""
        superseded = self._superseded
        for queue in self._queues:
            while queue and queue[0][1] in superseded:
                superseded.remove(heapq.heappop(queue)[1])

    def add(self, waiting: Iterable[Held], now_s: float) -> None:
        """Let intents wait, in order of places, each behind its predecessor if it has one."""
        ranks, queues, leaders, endings = self._ranks, self._queues, self._leaders, self._endings
        arrivals, noticed_below_ms = self._arrivals, endings.noticed_below_ms
        for held in waiting:
            row = held.row
            if row.ends_at < noticed_below_ms:
                endings.notice(held)
                noticed_below_ms = endings.noticed_below_ms
            pair = (row.caller, row.receiver)
            rank, offset_ms = ranks[row.priority]
            deadline_ms = row.starts_at + offset_ms
            arrivals += 1
            if pair in leaders:
                self._arrivals = arrivals
                self._follow(pair, held, deadline_ms, rank, now_s)
                arrivals = self._arrivals
            else:
                leader = leaders[pair] = (deadline_ms, arrivals, now_s, held, rank)
                heapq.heappush(queues[rank], leader)
                self.since_s = min(self.since_s, now_s)
        self._arrivals = arrivals

    def _follow(self, pair: Pair, held: Held, deadline_ms: int, rank: int, now_s: float) -> None:
        self._successors.setdefault(pair, deque()).append((now_s, held))
        self._successors_count += 1
        leader = self._leaders[pair]
        if leader is not None and (deadline_ms < leader[0] or rank < leader[4]):
            self._superseded.add(leader[1])
            self._lead(pair, leader[3], min(deadline_ms, leader[0]), min(rank, leader[4]), leader[2])

    def _lead(self, pair: Pair, held: Held, deadline_ms: int, rank: int, since_s: float) -> None:
        self._arrivals += 1
        leader = self._leaders[pair] = (deadline_ms, self._arrivals, since_s, held, rank)
        self.since_s = min(self.since_s, since_s)
        heapq.heappush(self._queues[rank], leader)

    # -- leaving

    def take(self, count_max: int, now_ms: int) -> list[Held]:
        """Remove up to ``count_max`` intents from the front. Their pairs stay unsettled until :meth:`settled`."""
        if self.sendable <= count_max:
            taken = self._take_all()
        else:
            deadline_ms = self.first_deadline_ms()
            assert deadline_ms is not None, "something is sendable"
            taken = self._take_shares(count_max, now_ms) if deadline_ms <= now_ms else []
            self._take_in_order(count_max, taken)
        leaders = self._leaders
        held_taken = [held for _, _, _, held, _ in taken]
        for held in held_taken:
            row = held.row
            leaders[row.caller, row.receiver] = None
        self._left()
        return held_taken

    def _take_all(self) -> list[Waiting]:
        taken = sorted(self._live())
        for queue in self._queues:
            queue.clear()
        self._superseded.clear()
        return taken

    def _take_in_order(self, count_max: int, taken: list[Waiting]) -> None:
        queues, superseded, pop = self._queues, self._superseded, heapq.heappop
        while len(taken) < count_max:
            first: list[Waiting] | None = None
            for queue in queues:
                if queue and (first is None or queue[0] < first[0]):
                    first = queue
            if first is None:
                return
            waiting = pop(first)
            if waiting[1] in superseded:
                superseded.remove(waiting[1])
            else:
                taken.append(waiting)

    def _take_shares(self, count_max: int, now_ms: int) -> list[Waiting]:
        queues, superseded, pop = self._queues, self._superseded, heapq.heappop
        near_ms = [now_ms + NEAR_MS + offset_ms for offset_ms in self._offsets_ms]
        taken: list[Waiting] = []
        while len(taken) < count_max:
            self._uncover()
            near = [len(q) if q and q[0][0] <= until_ms else 0 for q, until_ms in zip(queues, near_ms, strict=True)]
            if not any(near):
                break
            for rank, count in enumerate(self._shares.allot(count_max - len(taken), near)):
                queue, until_ms, left = queues[rank], near_ms[rank], count
                while left and queue and queue[0][0] <= until_ms:
                    waiting = pop(queue)
                    if waiting[1] in superseded:
                        superseded.remove(waiting[1])
                    else:
                        taken.append(waiting)
                        left -= 1
                self._shares.give_back(rank, left)
        return taken

    # -- places that cost much to remember

    def hasten_oldest(self, count: int) -> None:
        """Let the intents at the lowest places leave first of their class, unless such are leaving already."""
        if self.first_deadline_ms() not in {None, _HASTENED}:
            self._hasten(heapq.nsmallest(count, self._live(), key=lambda waiting: waiting[3].place))

    def hasten(self, chosen: Iterable[Held]) -> None:
        """Let these leave first of their class, unless such are leaving already.

        Those that wait for a predecessor go on waiting.
        """
        if self.first_deadline_ms() not in {None, _HASTENED}:
            places = {held.place for held in chosen}
            self._hasten([waiting for waiting in self._live() if waiting[3].place in places])

    def _hasten(self, first: list[Waiting]) -> None:
        for _, arrival, since_s, held, rank in first:
            self._superseded.add(arrival)
            self._lead((held.row.caller, held.row.receiver), held, _HASTENED, rank, since_s)
        self._forget_superseded()

    def below(self, place: Place) -> list[Held]:
        """All intents that wait at lower places, in no order."""
        return [held for held in self._all() if held.place < place]

    # -- pairs

    def travelling(self, held: Iterable[Held]) -> None:
        """Intents that a journaled batch already carries: their pairs are unsettled."""
        for one in held:
            self._leaders[one.row.caller, one.row.receiver] = None

    def settled(self, held: Iterable[Held]) -> None:
        """Intents that travelled are settled: the next of each pair may go."""
        leaders, successors = self._leaders, self._successors
        for one in held:
            row = one.row
            pair = (row.caller, row.receiver)
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
        rows = [held.row, *(follower.row for _, follower in waiting)]
        ranks = [self._ranks[row.priority] for row in rows]
        deadline_ms = min(row.starts_at + offset_ms for row, (_, offset_ms) in zip(rows, ranks, strict=True))
        self._lead(pair, held, deadline_ms, min(ranks)[0], since_s)

    # -- expiry

    def expire(self, ends_by_ms: int, count_max: int) -> list[Held]:
        """Remove up to ``count_max`` intents that end by then, first ones first. Costs little while none has ended."""
        if self._endings.first_ms > ends_by_ms:
            return []
        over = self._endings.over(ends_by_ms, count_max, self._waits, self._all)
        leading: list[Held] = []
        for held in over:
            pair = (held.row.caller, held.row.receiver)
            leader = self._leaders[pair]
            if leader is not None and leader[3] is held:
                self._superseded.add(leader[1])
                leading.append(held)
            else:
                self._drop_successor(pair, held)
        # Only now: what is over hands nothing forward any more.
        self.settled(leading)
        self._forget_superseded()
        self._left()
        return over

    def _left(self) -> None:
        """Some have left the window."""
        if self.sendable <= _COMPANY_MAX:
            self._find_since()
        if not self:
            self._endings.forget()

    def _waits(self, held: Held) -> bool:
        pair = (held.row.caller, held.row.receiver)
        leader = self._leaders.get(pair)
        if leader is not None and leader[3] is held:
            return True
        return any(follower is held for _, follower in self._successors.get(pair, ()))

    def _drop_successor(self, pair: Pair, held: Held) -> None:
        waiting = self._successors[pair]
        kept = deque(one for one in waiting if one[1] is not held)
        self._successors_count -= 1
        if kept:
            self._successors[pair] = kept
        else:
            del self._successors[pair]

    # -- housekeeping

    def _all(self) -> Iterator[Held]:
        for waiting in self._live():
            yield waiting[3]
        for successors in self._successors.values():
            for _, held in successors:
                yield held

    def _live(self) -> list[Waiting]:
        superseded = self._superseded
        if not superseded:
            return [waiting for queue in self._queues for waiting in queue]
        return [waiting for queue in self._queues for waiting in queue if waiting[1] not in superseded]

    def _forget_superseded(self) -> None:
        superseded = self._superseded
        if len(superseded) > max(_SUPERSEDED_MIN, self.sendable):
            self._queues = [[waiting for waiting in queue if waiting[1] not in superseded] for queue in self._queues]
            for queue in self._queues:
                heapq.heapify(queue)
            superseded.clear()

    def _find_since(self) -> None:
        self.since_s = min((since_s for _, _, since_s, _, _ in self._live()), default=float("inf"))
