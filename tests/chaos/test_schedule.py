"""The plan of a run: from its seed alone, with as much in it as is promised."""

from collections import Counter
from itertools import pairwise

import pytest

from tests.chaos.schedule import Kind, floors, plan

BROKER = (Kind.BROKER_KILL, Kind.BROKER_PAUSE, Kind.BROKER_RESTART)


def test_the_same_seed_is_the_same_plan_and_another_is_another():
    assert plan(300, 1) == plan(300, 1)
    assert plan(300, 1) != plan(300, 2)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("seconds", [60, 300, 900])
def test_a_plan_has_more_than_is_promised_and_ends_in_time(seconds, seed):
    faults = plan(seconds, seed)
    counts = Counter(fault.kind for fault in faults)
    for kind, least in floors(seconds).items():
        planned = counts[Kind.BROKER_KILL] + counts[Kind.BROKER_RESTART] if kind in BROKER else counts[kind]
        assert planned >= least, (kind, counts)
    assert all(fault.at_s > 0 and fault.at_s + fault.length_s < seconds for fault in faults)
    assert faults == sorted(faults)


@pytest.mark.parametrize("seed", range(20))
def test_a_broker_is_left_alone_until_it_is_back(seed):
    of_brokers = [fault for fault in plan(300, seed) if fault.kind in BROKER]
    for earlier, later in pairwise(of_brokers):
        assert earlier.at_s + earlier.length_s < later.at_s


def test_five_minutes_promise_ten_kills_three_pauses_and_two_restarts():
    assert floors(300) == {Kind.KILL: 10, Kind.PAUSE: 3, Kind.BROKER_RESTART: 2}
