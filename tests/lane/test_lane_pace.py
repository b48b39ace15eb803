"""No window of the server's clock holds more than the limit, whatever the latency; and the budget is used."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from streams.lane.pace import SPACING_SHARE, WINDOW_S, Pace


def most_in_a_window(times):
    times = sorted(times)
    most = first = 0
    for last, time in enumerate(times):
        while times[first] + WINDOW_S <= time:
            first += 1
        most = max(most, last - first + 1)
    return most


class Line:
    """Requests of one token, each seen by the server somewhere between its sending and its end."""

    def __init__(self, pace):
        self.pace = pace
        self.now_s = 0.0
        self.running = []
        self.seen = []

    def pass_time(self, seconds):
        until_s = self.now_s + seconds
        for ended_s in sorted(end for end in self.running if end <= until_s):
            self.running.remove(ended_s)
            self.pace.ended(ended_s)
        self.now_s = until_s

    def send(self, latency_s, seen_share):
        self.pace.take(self.now_s)
        self.running.append(self.now_s + latency_s)
        self.seen.append(self.now_s + latency_s * seen_share)


@settings(max_examples=150, deadline=None)
@given(
    limit=st.integers(1, 8),
    steps=st.lists(
        st.tuples(st.floats(0, 40), st.floats(0, 90), st.sampled_from([0.0, 0.3, 1.0]), st.floats(0, 80)), max_size=60
    ),
)
@pytest.mark.faults("F40")
def test_no_window_holds_more_than_the_limit(limit, steps):
    line = Line(Pace(limit))
    for wait_s, latency_s, seen_share, hold_s in steps:
        line.pass_time(wait_s)
        if hold_s > 70:
            line.pace.hold(line.now_s + hold_s - 70)
        if line.pace.ready_at(line.now_s) <= line.now_s:
            line.send(latency_s, seen_share)
        assert 0 <= line.pace.free(line.now_s) <= limit
    assert most_in_a_window(line.seen) <= limit


@pytest.mark.parametrize("latency_s", [0.0, 0.2, 1.5, 20.0])
def test_a_saturated_token_uses_its_whole_budget(latency_s):
    limit = 60
    line = Line(Pace(limit))
    sent = 0
    while line.now_s < 3600.0:
        ready_s = line.pace.ready_at(line.now_s)
        if ready_s <= line.now_s:
            line.send(latency_s, 1.0)
            sent += 1
        else:
            ends = min(line.running, default=float("inf"))
            line.pass_time(min(ready_s, ends) - line.now_s)
    # A slot is held while its request runs, and for a window after it.
    assert sent >= limit * 3600.0 / (WINDOW_S + latency_s) * 0.98
    assert most_in_a_window(line.seen) <= limit


@pytest.mark.parametrize("count", [1, 2, 3])
def test_slots_are_free_when_it_was_said(count):
    pace = Pace(3)
    for ended_s in (10.0, 20.0, 30.0):
        pace.take(0.0)
        pace.ended(ended_s)
    free_at_s = pace.free_at(count, 31.0)

    assert free_at_s == [70.0, 80.0, 90.0][count - 1]
    assert pace.free(free_at_s - 0.001) < count
    assert pace.free(free_at_s) == count


def test_slots_that_are_free_are_free_now_and_those_that_run_only_by_an_event():
    pace = Pace(2)
    assert pace.free_at(2, 5.0) == 5.0
    pace.take(5.0)
    assert pace.free_at(1, 5.0) == 5.0
    assert pace.free_at(2, 5.0) == float("inf")
    pace.take(6.0)
    assert pace.ready_at(6.0) == float("inf")


def test_requests_are_spaced():
    pace = Pace(60)
    pace.take(0.0)
    pace.ended(0.1)
    assert pace.ready_at(0.1) == pytest.approx(SPACING_SHARE)


def test_an_unsent_request_gives_its_slot_back():
    pace = Pace(1)
    pace.take(0.0)
    pace.unsent()
    assert pace.free(0.0) == 1


def test_a_pause_only_grows():
    pace = Pace(60)
    pace.hold(50.0)
    pace.hold(20.0)
    assert pace.ready_at(0.0) == 50.0


@given(ended=st.lists(st.floats(0, 59), max_size=10))
@pytest.mark.faults("F41")
def test_a_successor_goes_on_where_the_predecessor_stopped(ended):
    before = Pace(10)
    for ended_s in sorted(ended):
        before.take(ended_s)
        before.ended(ended_s)
    after = Pace(10)
    after.restore(list(before.recent()))
    for now_s in (59.0, 75.0, 100.0, 120.0):
        assert after.used(now_s) == before.used(now_s)


# --- What a token learns from its 429s --------------------------------------------------------------------------------


def test_a_429_slows_down_and_the_rate_comes_back_by_a_twentieth_a_minute():
    pace = Pace(60)
    pace.throttled(0.0)
    assert [pace.learned(60.0 * minute) for minute in (0, 1, 5, 6, 60)] == [42, 45, 57, 60, 60]


def test_those_that_were_in_flight_together_tell_once():
    pace = Pace(60)
    for now_s in (0.0, 0.1, 0.2):
        pace.throttled(now_s)
        pace.hold(now_s + 10.0)
    assert pace.learned(0.2) == 42
    assert pace.ready_at(0.2) == 10.2
    pace.throttled(10.2)
    assert pace.learned(10.2) == 29


def test_a_server_that_throws_everything_back_is_still_asked():
    pace = Pace(60)
    for hour in range(20):
        pace.throttled(0.001 * hour)
    assert pace.learned(0.02) == 6
    assert Pace(1).learned(0.0) == 1


def test_a_slower_token_has_fewer_slots_and_spreads_them():
    pace = Pace(60)
    for _ in range(50):
        pace.take(0.0)
        pace.ended(0.0)
    pace.throttled(1.0)
    assert pace.free(1.0) == 0
    assert pace.ready_at(1.0) == pytest.approx(60.0)
    pace.take(60.0)
    assert pace.ready_at(60.0) == pytest.approx(60.0 + SPACING_SHARE * 60.0 / pace.learned(60.0))


@pytest.mark.parametrize("allowed", [20, 45])
def test_a_server_that_allows_less_than_was_said_is_asked_for_most_of_it(allowed):
    """It counts what it takes, for a minute each; a 429 holds for a second."""
    line = Line(Pace(60))
    taken: list[float] = []
    thrown_back = 0
    while line.now_s < 2 * 3600.0:
        ready_s = line.pace.ready_at(line.now_s)
        if ready_s > line.now_s:
            line.pass_time(min(ready_s, min(line.running, default=float("inf"))) - line.now_s)
            continue
        line.send(0.1, 1.0)
        line.pass_time(0.1)
        if sum(time > line.now_s - WINDOW_S for time in taken[-allowed:]) < allowed:
            taken.append(line.now_s)
        else:
            thrown_back += 1
            line.pace.throttled(line.now_s)
            line.pace.hold(line.now_s + 1.0)
    assert len(taken) >= 0.75 * allowed * 120
    assert thrown_back <= 0.03 * len(taken)


def test_requests_of_a_previous_owner_may_have_ended_later_than_ours():
    """By the doubt about its clock; the next slot is the one that is freed first all the same."""
    pace = Pace(40)
    pace.restore([104.0, 103.0])
    for _ in range(38):
        pace.take(100.0)
        pace.ended(100.0)
    pace.throttled(100.0)
    ready_s = pace.ready_at(100.0)
    assert pace.free(ready_s) > 0
    pace.take(ready_s)


def test_slots_of_several_previous_tokens_free_themselves_in_order():
    pace = Pace(4)
    pace.restore([130.0, 105.0])
    pace.restore([104.0])
    assert pace.recent() == (104.0, 105.0, 130.0)
