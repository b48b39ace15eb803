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
        times.learn(20.0, 3)
    assert times.first_s() == pytest.approx(20.0, rel=0.01)
    assert times.requests() == pytest.approx(4.0, rel=0.01)
    for _ in range(50):
        times.learn(0.0, 1)
    assert times.first_s() == FIRST_CHECK_MIN_S
    for _ in range(50):
        times.learn(1000.0, 9)
    assert times.first_s() == FIRST_CHECK_MAX_S


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
