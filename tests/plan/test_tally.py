"""Distributions of bounded size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.plan.tally import Durations


def durations(*seconds: float) -> Durations:
    found = Durations()
    for each in seconds:
        found.add(each)
    return found


def test_nothing_has_no_quantile():
    assert Durations().quantile(0.5) is None


@pytest.mark.parametrize(
    ("seconds", "share", "expected"),
    [
        pytest.param((0.0,), 0.5, 0.0, id="at once"),
        pytest.param((1.0,), 0.99, 1.0, id="one"),
        pytest.param((1.0, 2.0, 3.0, 400.0), 1.0, 400.0, id="the most is exact"),
        pytest.param((1e9,), 0.5, 1e9, id="beyond all bounds"),
    ],
)
def test_quantile(seconds, share, expected):
    assert durations(*seconds).quantile(share) == expected


@given(st.lists(st.floats(0.002, 1e6), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_right_to_five_percent(seconds, share):
    ordered = sorted(seconds)
    exact = next(value for rank, value in enumerate(ordered, 1) if rank >= share * len(ordered))
    told = durations(*seconds).quantile(share)
    assert told is not None
    assert exact * 0.999 <= told <= exact * 1.051


def test_distributions_add_up():
    found = durations(1.0, 2.0)
    found.include(durations(5.0))
    assert (found.most_s, sum(found.counts)) == (5.0, 3)
