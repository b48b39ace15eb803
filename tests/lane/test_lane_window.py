"""The window against a plain list of what waits."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.contracts.journal import Held, Place
from streams.contracts.parcel import Priority
from streams.lane.shares import CLASSES
from streams.lane.window import NEAR_MS, Window
from tests.lane.making import MINUTE_MS, START, held

OFFSETS_MS: dict[Priority, int] = {"high": 0, "normal": 30_000, "low": 300_000}
NOW_MS = START.wall_ms
MANY = 10_000


class WindowMachine(RuleBasedStateMachine):
    """``waiting`` is in order of arrival; a pair that travels is in ``travelling``."""

    @initialize()
    def start(self):
        self.window = Window(OFFSETS_MS)
        self.waiting = []
        self.travelling = []
        self.gone = 0
        self.number = 0
        self.clock_s = 0.0
        self.since: dict[Place, float] = {}
        self.hurried: dict[Place, tuple[int, int]] = {}

    @rule(
        intents=st.lists(
            st.tuples(
                st.integers(0, 3), st.integers(0, 6), st.integers(0, 6), st.sampled_from(["high", "normal", "low"])
            ),
            max_size=5,
        )
    )
    def add(self, intents):
        self.clock_s += 1.0
        added = []
        for pair, starts, lasts, priority in intents:
            starts_at = START.wall_ms + starts * 60_000
            one = held(
                self.number,
                receiver=f"r{pair}",
                starts_at=starts_at,
                ends_at=starts_at + lasts * 60_000,
                priority=priority,
            )
            self.since[one.place] = self.clock_s
            added.append(one)
            self.number += 1
        self.window.add(added, self.clock_s)
        self.waiting.extend(added)
        self.hurry()

    @rule(count=st.integers(1, 6), minutes=st.integers(-10, 12))
    def take(self, count, minutes):
        now_ms = NOW_MS + minutes * MINUTE_MS
        leaders = list(self.leaders().values())
        in_order = self.order()
        taken = self.window.take(count, now_ms)
        assert len(taken) == min(count, len(leaders))
        assert len({self.pair(one) for one in taken}) == len(taken), "two intents of a pair share a batch"
        late = bool(in_order) and self.deadline(in_order[0]) <= now_ms
        if len(leaders) <= count or not late:
            assert taken == in_order[:count]
        else:
            self.by_shares(leaders, taken, now_ms)
        self.remove(taken)
        self.travelling.extend(taken)

    def by_shares(self, leaders, taken, now_ms):
        """Each class in its own order, and no far call before a near one."""
        for rank in range(len(CLASSES)):
            mine = [one for one in leaders if self.rank(one) == rank]
            gone = [self.deadline(one) for one in taken if self.rank(one) == rank]
            left = [self.deadline(one) for one in mine if one not in taken]
            assert max(gone, default=0) <= min(left, default=2**62)
        near = [one for one in leaders if self.deadline(one) - self.offset_ms(one) <= now_ms + NEAR_MS]
        assert set(near) <= set(taken) or set(taken) <= set(near)

    @precondition(lambda self: self.travelling)
    @rule(data=st.data())
    def settle(self, data):
        chosen = data.draw(st.lists(st.sampled_from(self.travelling), min_size=1, unique=True))
        self.window.settled(chosen)
        self.travelling = [one for one in self.travelling if one not in chosen]
        self.gone += len(chosen)
        self.hurry()

    @rule(minutes=st.integers(0, 12))
    def expire(self, minutes):
        ends_by_ms = START.wall_ms + minutes * 60_000
        expected = sorted(one for one in self.waiting if one.row.ends_at <= ends_by_ms)
        expired: list[Held] = []
        for most in (2, MANY):
            some = self.window.expire(ends_by_ms, most)
            assert len(some) == min(most, len(expected) - len(expired))
            expired += some
            self.remove(some)
            self.gone += len(some)
            self.hurry()
        assert sorted(expired) == expected

    def remove(self, some):
        places = {one.place for one in some}
        self.waiting = [one for one in self.waiting if one.place not in places]

    @staticmethod
    def pair(one):
        return one.row.caller, one.row.receiver

    def leaders(self):
        travelling = {self.pair(one) for one in self.travelling}
        leaders: dict[tuple[str, str], Held] = {}
        for one in self.waiting:
            if self.pair(one) not in travelling:
                leaders.setdefault(self.pair(one), one)
        return leaders

    def hurry(self):
        for one in self.leaders().values():
            behind = [other.row for other in self.waiting if self.pair(other) == self.pair(one)]
            deadlines = [row.starts_at + OFFSETS_MS[row.priority] for row in behind]
            ranks = [CLASSES.index(row.priority) for row in behind]
            deadline, rank = self.hurried.get(one.place, (2**62, 2**62))
            self.hurried[one.place] = (min(deadline, *deadlines), min(rank, *ranks))

    def deadline(self, leader):
        """The earliest of its own and of all that ever waited behind it: what it took over it keeps."""
        return self.hurried[leader.place][0]

    def rank(self, leader):
        return self.hurried[leader.place][1]

    def offset_ms(self, leader):
        return OFFSETS_MS[CLASSES[self.rank(leader)]]

    def order(self):
        """By effective deadline; for equal ones any order that the window chooses is right."""
        leaders = list(self.leaders().values())
        chosen = {one.place: number for number, one in enumerate(self.peek())}
        return sorted(leaders, key=lambda one: (self.deadline(one), chosen.get(one.place, 0)))

    def peek(self):
        live = sorted(self.window._live())
        return [waiting[3] for waiting in live]

    @invariant()
    def nothing_is_lost(self):
        if hasattr(self, "window"):
            assert len(self.window) == len(self.waiting)
            assert self.window.sendable == len(self.leaders())
            assert self.gone + len(self.travelling) + len(self.waiting) == self.number

    @invariant()
    def the_first_is_known(self):
        if hasattr(self, "window"):
            leaders = self.leaders().values()
            expected = min((self.deadline(one) for one in leaders), default=None)
            assert self.window.first_deadline_ms() == expected
            assert self.window.ends_first_ms <= min((one.row.ends_at for one in self.waiting), default=float("inf"))

    @invariant()
    def what_waits_is_due_some_time(self):
        if hasattr(self, "window"):
            oldest = min((self.since[one.place] for one in self.leaders().values()), default=float("inf"))
            assert self.window.since_s <= oldest


WindowMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
TestWindow = WindowMachine.TestCase


def take(window, count, now_ms=NOW_MS):
    return window.take(count, now_ms)


def test_a_promoted_successor_has_waited_since_it_came():
    window = Window(OFFSETS_MS)
    window.add([held(0, receiver="r"), held(1, receiver="r")], 5.0)
    (first,) = take(window, 10)
    assert window.since_s == float("inf"), "what waits for its predecessor is not sendable"

    window.settled([first])
    assert window.since_s == 5.0


def test_a_successor_in_a_hurry_hurries_its_predecessor():
    window = Window(OFFSETS_MS)
    patient, urgent, other = (
        held(0, receiver="r", priority="low"),
        held(1, receiver="r", priority="high"),
        held(2, priority="normal"),
    )
    window.add([patient, other, urgent], 0.0)
    assert take(window, 10) == [patient, other]


def test_travelling_pairs_hold_back_what_is_read_again():
    window = Window(OFFSETS_MS)
    window.travelling([held(0, receiver="r")])
    window.add([held(1, receiver="r"), held(2)], 0.0)
    assert take(window, 10) == [held(2)]


def test_the_oldest_leave_first_when_hastened():
    window = Window(OFFSETS_MS)
    intents = [held(number, starts_at=START.wall_ms - number * 1000) for number in range(20)]
    window.add(intents, 0.0)
    assert take(window, 2) == [intents[19], intents[18]]

    window.hasten_oldest(6)
    window.hasten_oldest(6)
    assert take(window, 3) == intents[:3]
    window.add([held(20, starts_at=START.wall_ms - 60_000)], 0.0)
    window.hasten_oldest(6)
    assert take(window, 5) == [*intents[3:6], held(20, starts_at=START.wall_ms - 60_000), intents[17]]


def test_a_hastened_leader_is_not_overtaken_and_keeps_its_successor():
    window = Window(OFFSETS_MS)
    first, second = held(0, receiver="r"), held(1, receiver="r")
    window.add([first, second], 0.0)
    window.hasten_oldest(1)
    assert take(window, 5) == [first]
    window.settled([first])
    assert take(window, 5) == [second]


def test_a_predecessor_takes_over_the_class_of_its_successor():
    window = Window(OFFSETS_MS)
    late = {"starts_at": NOW_MS - 10 * MINUTE_MS}
    patient, urgent = held(0, receiver="r", priority="low", **late), held(1, receiver="r", priority="high", **late)
    others = [held(number, priority="high", **late) for number in range(10, 50)]
    window.add([*others, patient, urgent], 0.0)
    window.add([held(number, priority="low", **late) for number in range(50, 100)], 0.0)
    assert patient in take(window, 44)


def test_a_class_is_not_filled_up_with_calls_that_are_far_ahead():
    window = Window(OFFSETS_MS)
    evening = [held(number, starts_at=NOW_MS + 60 * MINUTE_MS, priority="high") for number in range(100)]
    late = [held(number, starts_at=NOW_MS - MINUTE_MS) for number in range(100, 150)]
    window.add([*evening, *late], 0.0)
    assert set(take(window, 40)) < set(late)
    taken = take(window, 40)
    assert set(late) < {*taken, *evening, *late}
    assert sum(one in late for one in taken) == 10, "what is left goes to those that have time"


def test_shares_hold_where_all_classes_wait():
    window = Window(OFFSETS_MS)
    for rank, priority in enumerate(CLASSES):
        first = 10_000 * rank
        starts_at = NOW_MS - MINUTE_MS * 10
        window.add([held(n, priority=priority, starts_at=starts_at) for n in range(first, first + 3000)], 0.0)
    taken = [one for _ in range(6) for one in take(window, 500)]
    assert [sum(one.row.priority == priority for one in taken) for priority in CLASSES] == [2400, 450, 150]


def test_a_hastened_intent_stays_within_the_share_of_its_class():
    window = Window(OFFSETS_MS)
    soon = NOW_MS + MINUTE_MS
    window.add([held(number, priority="low", starts_at=soon) for number in range(100)], 0.0)
    window.add([held(number, priority="high", starts_at=soon) for number in range(100, 200)], 0.0)
    window.hasten_oldest(100)
    taken = take(window, 85)
    assert [one.row.priority for one in taken].count("high") == 80


def test_expiry_of_what_has_left_already_costs_and_tells_nothing():
    window = Window(OFFSETS_MS)
    intents = [held(number, ends_at=NOW_MS + 60_000 + number * 1000) for number in range(100)]
    window.add(intents, 0.0)
    assert window.expire(NOW_MS + 60_000, MANY) == intents[:1]
    assert take(window, 60) == intents[1:61]
    assert window.ends_first_ms <= intents[61].row.ends_at
    assert window.expire(NOW_MS + 125_000, MANY) == intents[61:66]
    assert take(window, 60) == intents[66:]
    assert window.ends_first_ms == float("inf"), "nothing is kept of what has left"
