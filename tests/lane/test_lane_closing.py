"""When a batch is closed: as soon as it may, as full as it can be, and without waves."""

import heapq
import itertools

import pytest

from streams.contracts.outcome import Status
from streams.lane import answers, closing
from streams.lane.actions import Check, Post, Write
from streams.lane.closing import SWEEP_INTENTS_MAX
from streams.lane.instant import Instant
from streams.lane.pace import WINDOW_S, Pace
from streams.lane.spread import supply
from streams.lane.verdict import Accepted, Minted, NotVisible, RecordState, Statuses
from tests.lane.making import MINUTE_MS, START, Driven, after, minted_lane, parcel, record, row


def leaves_in_s(driven):
    """Seconds until a POST leaves, and how many intents are in it."""
    begun_s = driven.now.boot_s
    for _ in range(100):
        if requests := driven.step():
            (post,) = requests
            return driven.now.boot_s - begun_s, len(post.held)
        wait_s = driven.lane.wake_at(driven.now) - driven.now.boot_s
        assert wait_s > 0, "it wakes and does nothing"
        driven.now = after(wait_s, driven.now)
    pytest.fail("it never leaves")


def used(driven, requests, seconds):
    """So many batches, evenly over the last seconds, the last one 0.8 s ago."""
    (token,) = driven.lane.tokens.usable(driven.now)
    begun = driven.now
    for number in range(1, requests + 1):
        driven.now = after(number * seconds / requests, begun)
        for pace in (token.pace, driven.lane.tokens.pace):
            pace.take(driven.now.boot_s)
            pace.ended(driven.now.boot_s)
        closing.left(driven.lane, driven.now)
    driven.now = after(seconds + 0.8, begun)
    return driven


def lane(**options):
    return Driven(minted_lane(tokens_max=1, **{"statuses": "none", **options}))


@pytest.mark.parametrize(
    ("requests", "seconds", "wait_s"),
    [
        pytest.param(0, 30.0, 0.25, id="nothing was sent lately: the linger alone"),
        pytest.param(10, 30.0, 0.25, id="little"),
        pytest.param(5, 5.0, 0.25, id="a few at once"),
        pytest.param(20, 20.0, 0.25, id="more, but not all of what a minute allows"),
        pytest.param(40, 30.0, 0.63, id="two thirds, and none comes back yet: what is left has to last"),
        pytest.param(42, 45.0, 0.45, id="what it allows: 1.25 s from the last one"),
        pytest.param(48, 60.0, 0.25, id="four fifths, evenly"),
        pytest.param(60, 60.0, 0.45, id="all, evenly: slots come back, and a reserve is made"),
        pytest.param(59, 20.0, 4.2, id="all at once: as long as it may"),
    ],
)
def test_a_small_batch_leaves_room_for_others(requests, seconds, wait_s):
    driven = used(lane(), requests, seconds)
    driven.offer([row(0)])
    assert leaves_in_s(driven) == (pytest.approx(wait_s, abs=0.12), 1)


@pytest.mark.parametrize(
    ("changes", "wait_s"),
    [
        pytest.param({}, 0.45, id="a call in ten minutes"),
        pytest.param({"starts_at": START.wall_ms + 62_150, "priority": "high"}, 0.35, id="a call in 1.35 s"),
        pytest.param({"starts_at": START.wall_ms + 60_000, "priority": "high"}, 0.25, id="a call at once"),
        pytest.param({"starts_at": START.wall_ms + 60_000}, 0.45, id="a call at once that has half a minute"),
    ],
)
def test_an_urgent_call_does_not_wait_for_a_reserve(changes, wait_s):
    driven = used(lane(), 60, 60.0)
    driven.offer([row(0, **changes)])
    assert leaves_in_s(driven) == (pytest.approx(wait_s, abs=0.03), 1)


def test_a_full_batch_leaves_at_once_while_there_is_a_slot():
    driven = used(lane(records_max=5), 30, 60.0)
    driven.offer([row(number) for number in range(5)])
    assert len(driven.post().held) == 5


def test_full_batches_are_spaced_where_the_slots_run_out():
    driven = used(lane(records_max=5), 57, 40.0)
    driven.offer([row(number) for number in range(5)])
    wait_s, records = leaves_in_s(driven)
    assert 0.5 < wait_s < 1.21, "three slots are left, for eighteen seconds: two even spacings at most"
    assert records == 5


def test_where_a_batch_costs_checks_too_they_are_reckoned_with():
    waits_s = []
    for statuses in ("none", "all"):
        driven = used(lane(statuses=statuses), 60, 60.0)
        driven.offer([row(0)])
        waits_s.append(leaves_in_s(driven)[0] + 0.8)
    alone_s, checked_s = waits_s
    assert checked_s == pytest.approx(2 * alone_s, rel=0.1)


def test_a_check_that_is_overdue_makes_small_batches_wait():
    waits_s = []
    for running in (0, 1):
        driven = lane(statuses="all", in_flight_max_per_token=1)
        driven.offer([row(0)])
        driven.answer(driven.post(1.0), Accepted("b"))
        driven.lane.checks.running = running
        driven.now = after(3.0 + 2 * 5.0 * running, driven.now)
        driven.lane.posted_s = driven.now.boot_s
        driven.offer([row(1)], offset=1)
        waits_s.append(leaves_in_s(driven)[0])
    assert waits_s == [pytest.approx(0.5, abs=0.1), pytest.approx(10.0, abs=0.1)]


class Steady:
    """An account under a steady load, its batches accepted after 100 ms and, where asked for, checked once."""

    def __init__(self, records_per_s, **options):
        self.lane = minted_lane(tokens_max=1, records_max=20, **options)
        self.now = START
        self.posts = []
        self.waits = []
        self.lulls = 0
        self._events = []
        self._order = itertools.count()
        self._came = {}
        for number in range(round(240 * records_per_s)):
            self._at(number / records_per_s, lambda number=number: self._offer(number))

    def _at(self, seconds, event):
        heapq.heappush(self._events, (seconds, next(self._order), event))

    @property
    def now_s(self):
        return self.now.boot_s - START.boot_s

    def _offer(self, number):
        self._came[number] = self.now_s
        starts_at = self.now.wall_ms + (number * 7919 % 61) * 1000
        priority = ("high", "normal", "low")[number % 3]
        one = row(number, starts_at=starts_at, ends_at=starts_at + MINUTE_MS, priority=priority)
        self.lane.offer(number, parcel([one]), self.now)

    def run(self, until_s):
        wake_s = 0.0
        while min(wake_s, self._events[0][0] if self._events else wake_s) <= until_s:
            event_s = self._events[0][0] if self._events else float("inf")
            seconds = min(event_s, wake_s)
            assert seconds < float("inf")
            self.now = Instant(START.wall_ms + round(seconds * 1000), START.boot_s + seconds)
            if event_s <= seconds:
                heapq.heappop(self._events)[2]()
            before = len(self.posts)
            acted = False
            while actions := self.lane.step(self.now):
                acted = True
                for action in actions:
                    self._perform(action)
            wake_s = self.lane.wake_at(self.now) - START.boot_s
            assert wake_s > seconds or acted or len(self.posts) > before, "it wakes and does nothing"
        return self

    def _perform(self, action):
        if isinstance(action, Write):
            if action.serial:
                self.lane.durable(action.serial)
        elif isinstance(action, Post):
            self.posts.append((self.now_s, len(action.held)))
            self.waits.extend((self.now_s, self.now_s - self._came[one.row.source_offset]) for one in action.held)
            self._later(lambda ref, sent: answers.posted(self.lane, ref, Accepted(ref), sent, self.now), action)
        elif isinstance(action, Check):
            self._later(lambda ref, sent: answers.checked(self.lane, ref, self._told(ref), sent, self.now), action)

    def _told(self, ref):
        held = self.lane.batches[ref].unsettled(self.lane.tools.packer)
        return Statuses(tuple(record(one.row, RecordState.DELIVERED) for one in held))

    def _later(self, answered, action):
        sent_ms = self.now.wall_ms
        self._at(self.now_s + 0.1, lambda: answered(action.batch_ref, sent_ms))


@pytest.mark.parametrize(
    ("load", "statuses", "pause_s"),
    [
        pytest.param(0.01, "none", 10.0, id="1 %"),
        pytest.param(0.3, "none", 1.7, id="30 %"),
        pytest.param(0.66, "none", 1.7, id="two thirds"),
        pytest.param(0.9, "none", 1.5, id="90 %"),
        pytest.param(2.0, "none", 2.2, id="200 %"),
        pytest.param(0.33, "all", 3.6, id="two thirds of what statuses leave"),
        pytest.param(0.6, "all", 3.0, id="more than statuses leave"),
    ],
)
def test_a_steady_load_is_sent_without_waves(load, statuses, pause_s):
    steady = Steady(20 * load, statuses=statuses).run(239.0)
    times = [at_s for at_s, _ in steady.posts if at_s >= 58.0]
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) <= pause_s
    for begun_s in (60.0, 120.0):
        sent = [records for at_s, records in steady.posts if begun_s <= at_s < begun_s + 60]
        assert len(sent) <= 60
        if load > 1:
            assert sent == [20] * len(sent)
            assert len(sent) >= 59


@pytest.mark.parametrize(
    ("records_per_s", "statuses"),
    [
        pytest.param(0.3, "none", id="slower than the spacing"),
        pytest.param(0.8, "none", id="four fifths of the slots"),
        pytest.param(0.39, "all", id="four fifths of the slots, half of them for checks"),
    ],
)
def test_low_traffic_does_not_wait_beyond_the_linger(records_per_s, statuses):
    steady = Steady(records_per_s, statuses=statuses).run(200.0)
    waits_s = sorted(wait_s for _, wait_s in steady.waits)
    assert waits_s[len(waits_s) // 2] == pytest.approx(0.25)
    assert waits_s[-1] <= 0.25 + 0.8, "the spacing after a check is all that may come on top"


def test_supply_is_that_of_all_tokens_that_may_be_used():
    busy, idle, held, account = Pace(60), Pace(60), Pace(60), Pace(600)
    for number in range(60):
        busy.take(0.0)
        busy.ended(float(number))
    held.hold(100.0)
    now_s = 59.5
    assert supply([busy], account, now_s).lasting_per_s == pytest.approx(1.0)
    assert supply([busy, idle], account, now_s).lasting_per_s == pytest.approx(1.0 + 60 / 30)
    assert supply([busy, idle, held], account, now_s).lasting_per_s == pytest.approx(3.0)
    assert supply([busy, idle, held], account, now_s).even_per_s == pytest.approx(180 / WINDOW_S)
    assert supply([], account, now_s).next_at(now_s, 5.0) < float("inf")


def test_supply_is_no_more_than_the_account_may_have():
    old, new, account = Pace(60), Pace(60), Pace(60)
    together = supply([old, new], account, 0.0)
    assert [together.lasting_per_s, together.even_per_s] == pytest.approx([60 / 30, 1.0])
    for number in range(30):
        account.take(0.0)
        account.ended(float(number))
    assert supply([old, new], account, 30.0).lasting_per_s == pytest.approx(31 / 30)
    account.throttled(30.0)
    assert supply([old, new], account, 30.0).even_per_s == pytest.approx(0.7)
    account.hold(100.0)
    assert supply([old, new], account, 30.0).lasting_per_s == 0.0


@pytest.mark.faults("F39")
def test_what_is_over_takes_no_place_in_a_batch():
    driven = lane(records_max=3, expiry_margin_ms=30_000)
    driven.offer([row(0, ends_at=START.wall_ms + 30_500), *(row(number) for number in range(1, 5))])
    driven.lane.sweep_at_s = START.boot_s + 10.0
    assert [one.row.source_offset for one in driven.post(0.6).held] == [1, 2, 3]
    (expired,) = [group for write in driven.writes for group in write.outcomes]
    assert (expired.status, len(expired.held)) == (Status.EXPIRED, 1)


def test_many_that_end_together_leave_in_several_writes():
    driven = lane(expiry_margin_ms=30_000)
    many = SWEEP_INTENTS_MAX + 10
    rows = [row(number, ends_at=START.wall_ms + 60_000) for number in range(many)]
    for offset in range(0, many, 1000):
        driven.offer(rows[offset : offset + 1000], offset=offset)
    driven.offer([row(many)], offset=many)
    driven.now = after(31.0)
    assert len(driven.post(0.0).held) == 1
    sizes = [len(group.held) for write in driven.writes for group in write.outcomes]
    assert sizes == [SWEEP_INTENTS_MAX, 10]


def test_a_batch_whose_statuses_are_not_there_yet_is_learned_from():
    driven = lane(statuses="all")
    driven.offer([row(0)])
    driven.answer(driven.post(1.0), Accepted("b"))
    for verdict in (NotVisible("404"), Statuses((record(row(0)),))):
        check = driven.check(60.0)
        write = answers.checked(driven.lane, check.batch_ref, verdict, driven.now.wall_ms, driven.now)
        driven.wrote(write)
    assert driven.lane.checks.times.requests() == pytest.approx(1 + 1.2)


def test_a_token_and_its_successor_are_one_supply():
    steady = Steady(8.0, statuses="none")
    steady.lane.tokens.start_mint(START)
    answers.minted(steady.lane, Minted("successor"), START.wall_ms, START)
    steady.run(200.0)
    times = [at_s for at_s, _ in steady.posts if at_s >= 58.0]
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) <= 1.3
    assert steady.posts[-1][0] > 190.0
