"""The window against a plain list of what waits."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.contracts.journal import Held, Place
from streams.contracts.parcel import Priority
from streams.lane.window import Window
from tests.lane.making import START, held

OFFSETS_MS: dict[Priority, int] = {"high": 0, "normal": 30_000, "low": 300_000}


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
        self.hurried: dict[Place, int] = {}

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

    @rule(count=st.integers(1, 6))
    def take(self, count):
        expected = self.order()[:count]
        taken = self.window.take(count)
        assert taken == expected
        assert len({self.pair(one) for one in taken}) == len(taken), "two intents of a pair share a batch"
        self.remove(taken)
        self.travelling.extend(taken)

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
        expired = self.window.expire(ends_by_ms)
        expected = [one for one in self.waiting if one.row.ends_at <= ends_by_ms]
        assert sorted(expired) == sorted(expected)
        self.remove(expired)
        self.gone += len(expired)
        self.hurry()

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

    def deadline(self, leader):
        """The earliest of its own and of all that ever waited behind it: what it took over it keeps."""
        behind = [one.row for one in self.waiting if self.pair(one) == self.pair(leader)]
        deadlines = [row.starts_at + OFFSETS_MS[row.priority] for row in behind]
        return min([self.hurried.get(leader.place, 2**62), *deadlines])

    def hurry(self):
        self.hurried.update({one.place: self.deadline(one) for one in self.leaders().values()})

    def order(self):
        """By effective deadline; for equal ones any order that the window chooses is right."""
        leaders = list(self.leaders().values())
        chosen = {one.place: number for number, one in enumerate(self.peek())}
        return sorted(leaders, key=lambda one: (self.deadline(one), chosen.get(one.place, 0)))

    def peek(self):
        live = sorted(self.window._live())
        return [one for _, _, _, one in live]

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


def test_a_promoted_successor_has_waited_since_it_came():
    window = Window(OFFSETS_MS)
    window.add([held(0, receiver="r"), held(1, receiver="r")], 5.0)
    (first,) = window.take(10)
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
    assert window.take(10) == [patient, other]


def test_travelling_pairs_hold_back_what_is_read_again():
    window = Window(OFFSETS_MS)
    window.travelling([held(0, receiver="r")])
    window.add([held(1, receiver="r"), held(2)], 0.0)
    assert window.take(10) == [held(2)]


def test_the_oldest_leave_first_when_hastened():
    window = Window(OFFSETS_MS)
    intents = [held(number, starts_at=START.wall_ms - number * 1000) for number in range(20)]
    window.add(intents, 0.0)
    assert window.take(2) == [intents[19], intents[18]]

    window.hasten_oldest(6)
    window.hasten_oldest(6)
    assert window.take(3) == intents[:3]
    window.add([held(20, starts_at=START.wall_ms - 60_000)], 0.0)
    window.hasten_oldest(6)
    assert window.take(5) == [*intents[3:6], held(20, starts_at=START.wall_ms - 60_000), intents[17]]


def test_a_hastened_leader_is_not_overtaken_and_keeps_its_successor():
    window = Window(OFFSETS_MS)
    first, second = held(0, receiver="r"), held(1, receiver="r")
    window.add([first, second], 0.0)
    window.hasten_oldest(1)
    assert window.take(5) == [first]
    window.settled([first])
    assert window.take(5) == [second]
