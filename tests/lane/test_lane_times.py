"""Backoff, and when status checks are made."""

import random

import hypothesis.strategies as st
import pytest
from hypothesis import given

from streams.contracts.journal import BatchEntry, BatchState
from streams.lane.backoff import Backoff
from streams.lane.batch import Batch, Phase
from streams.lane.checking import (
    CHECK_CAP_S,
    DEADLINE_GRACE_S,
    FIRST_CHECK_MAX_S,
    FIRST_CHECK_MIN_S,
    FIRST_CHECK_S,
    GIVE_UP_EVERY_S,
    JITTER,
    Checks,
    CheckTimes,
)
from streams.lane.due import Due
from tests.lane.making import START, after


class Highest(random.Random):
    """Draws the upper end."""

    def uniform(self, a: float, b: float) -> float:
        return b


def batch(name, accepted_s=START.boot_s):
    entry = BatchEntry("account", BatchState.ACCEPTED, 1, "retry", batch_id=f"id-{name}", accepted_at=0)
    return Batch(name, entry, b"", Phase.CHECK_DUE, accepted_s=accepted_s)


def test_backoff_doubles_to_its_cap_and_starts_anew():
    backoff = Backoff(base_s=1.0, cap_s=10.0)
    assert [backoff.fail(Highest()) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    backoff.succeed()
    assert backoff.fail(Highest()) == 1.0


@given(failures=st.integers(0, 5000), seed=st.integers(), floor_s=st.floats(0, 5))
def test_backoff_stays_between_floor_and_cap(failures, seed, floor_s):
    backoff = Backoff(base_s=1.0, cap_s=60.0, floor_s=floor_s, failures=failures)
    assert floor_s <= backoff.fail(random.Random(seed)) <= 60.0


@pytest.mark.parametrize(("wish_s", "least_s", "most_s"), [(30.0, 30.0, 33.0), (0.0, 0.0, 1.0), (0.5, 0.5, 1.5)])
def test_the_servers_wish_is_kept_and_stretched_by_a_tenth_or_a_second(wish_s, least_s, most_s):
    backoff = Backoff(base_s=1.0, cap_s=60.0, failures=9)
    for seed in range(50):
        assert least_s <= backoff.fail(random.Random(seed), wish_s) <= most_s


def test_the_first_check_follows_what_batches_usually_take():
    times = CheckTimes()
    assert times.first_s() == FIRST_CHECK_S
    assert times.requests() == 2.0
    for _ in range(50):
        times.learn(15.0, 25.0, 3)
    assert times.first_s() == pytest.approx(20.0, rel=0.01)
    assert times.requests() == pytest.approx(4.0, rel=0.01)
    for _ in range(2000):
        times.learn(None, times.first_s(), 1)
    assert times.first_s() == FIRST_CHECK_MIN_S
    for _ in range(50):
        times.learn(500.0, 1500.0, 2)
    assert times.first_s() == pytest.approx(FIRST_CHECK_MAX_S, abs=0.01)
    times.learn(None, 5000.0, 1)
    assert 58.0 < times.first_s() < FIRST_CHECK_MAX_S, "a batch of a previous owner, asked for long after it was done"


@pytest.mark.parametrize("takes_s", [2.5, 5.0, 12.0, 40.0])
def test_nine_of_ten_batches_are_checked_once_whatever_time_they_take(takes_s):
    times, dice = CheckTimes(), random.Random(1)
    made = []
    for _ in range(1500):
        asked_s, too_early_s, checks = times.first_s(), None, 1
        while asked_s < takes_s * dice.uniform(0.97, 1.03):
            too_early_s = asked_s
            asked_s += times.next_s(checks, dice)
            checks += 1
        times.learn(too_early_s, asked_s, checks)
        made.append(checks)
    assert sum(made[500:]) / 1000 <= 1.15
    assert times.first_s() == pytest.approx(takes_s, rel=0.25)


@pytest.mark.faults("F82")
@pytest.mark.parametrize(("requests", "batches"), [(0, 1), (60, 450), (600, 4500)])
def test_no_more_batches_are_open_than_can_be_asked_for_in_time(requests, batches):
    assert Checks(running_max=1, deadline_s=1800.0).in_time(requests) == batches


@given(checks=st.integers(1, 10_000), usual_s=st.floats(0, 5000), seed=st.integers())
def test_checks_back_off_to_their_cap(checks, usual_s, seed):
    wait_s = CheckTimes(usual_s).next_s(checks, random.Random(seed))
    assert 1.0 <= wait_s <= CHECK_CAP_S * (1 + JITTER)


def test_due_gives_what_is_due_longest():
    due = Due()
    first, second = batch("a"), batch("b")
    due.add(second, 20.0)
    due.add(first, 10.0)
    assert due.first_at() == 10.0
    assert due.pop(9.9) is None
    assert due.pop(30.0) is first
    assert due.pop(30.0) is second
    assert due.first_at() == float("inf")


def test_checks_run_only_so_many_at_once():
    checks = Checks(running_max=1, deadline_s=1800.0)
    first, second = batch("a"), batch("b")
    checks.at(first, 10.0)
    checks.at(second, 11.0)
    assert checks.next_at == 10.0
    assert checks.start(20.0) == first
    assert {first.phase} == {Phase.CHECK}
    assert checks.next_at == float("inf")
    assert checks.start(20.0) is None


def test_what_nobody_could_ask_about_is_given_up_after_its_deadline():
    checks = Checks(running_max=1, deadline_s=600.0)
    old, young = batch("old"), batch("young", accepted_s=START.boot_s + 300)
    checks.at(old, START.boot_s + 5.0)
    checks.at(young, START.boot_s + 305.0)

    assert checks.given_up(after(600.0)) == []
    over = after(600.0 + DEADLINE_GRACE_S)
    assert checks.given_up(over) == [old]
    assert checks.give_up_at == over.boot_s + GIVE_UP_EVERY_S
    assert checks.start(over.boot_s) is young
