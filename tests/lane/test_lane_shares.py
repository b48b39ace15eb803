"""Shares of high, normal and low, over any history of who waits and of how large batches are."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from streams.lane.shares import CLASSES, WEIGHTS, Shares

histories = st.lists(
    st.tuples(st.integers(1, 60), st.tuples(*(st.sampled_from([0, 0, 1, 2, 7, 400]) for _ in CLASSES))), max_size=60
)


@pytest.mark.parametrize(
    ("count", "waiting", "given_to"),
    [
        pytest.param(500, (1000, 1000, 1000), [400, 75, 25], id="80 : 15 : 5"),
        pytest.param(500, (100, 1000, 1000), [100, 300, 100], id="what high does not use is passed on by weight"),
        pytest.param(500, (1000, 0, 1000), [470, 0, 30], id="one class has nothing"),
        pytest.param(500, (0, 0, 1000), [0, 0, 500], id="one class alone"),
        pytest.param(500, (10, 20, 30), [10, 20, 30], id="less than fits"),
        pytest.param(500, (0, 0, 0), [0, 0, 0], id="nothing"),
        pytest.param(20, (100, 100, 100), [16, 3, 1], id="a round"),
        pytest.param(3, (100, 100, 100), [1, 1, 1], id="nobody has had anything yet"),
    ],
)
def test_a_batch_is_divided(count, waiting, given_to):
    assert Shares().allot(count, waiting) == given_to


def test_shares_are_carried_over_batches_of_one():
    shares = Shares()
    given_to = [shares.allot(1, (9, 9, 9)) for _ in range(400)]
    assert [sum(column) for column in zip(*given_to, strict=True)] == [320, 60, 20]


@settings(max_examples=300, deadline=None)
@given(history=histories)
def test_all_that_fits_is_given_and_no_more(history):
    shares = Shares()
    for count, waiting in history:
        given_to = shares.allot(count, waiting)
        assert sum(given_to) == min(count, sum(waiting))
        assert all(0 <= some <= all_ for some, all_ in zip(given_to, waiting, strict=True))


@settings(max_examples=300, deadline=None)
@given(history=histories, pair=st.sampled_from([(0, 1), (0, 2), (1, 2)]))
def test_shares_hold_within_a_record_while_both_wait(history, pair):
    """What two classes were given over their weights differs by one record of each at most, however long both wait."""
    shares = Shares()
    first, second = pair
    bound = 1 / WEIGHTS[first] + 1 / WEIGHTS[second] + 1e-9
    differences = [0.0]
    for count, waiting in history:
        given_to = shares.allot(count, waiting)
        both_waited = all(given_to[index] < waiting[index] for index in pair)
        if both_waited:
            ahead = given_to[first] / WEIGHTS[first] - given_to[second] / WEIGHTS[second]
            differences.append(differences[-1] + ahead)
            assert max(differences) - min(differences) <= 2 * bound
            assert abs(differences[-1] - differences[0]) <= bound
        else:
            differences = [0.0]


@settings(max_examples=300, deadline=None)
@given(history=histories, index=st.sampled_from(range(len(CLASSES))))
def test_nobody_starves(history, index):
    """While a class has intents waiting, others get their weights' worth and a record each between two of its own."""
    shares = Shares()
    others = [other for other in range(len(CLASSES)) if other != index]
    most = sum(-(-WEIGHTS[other] // WEIGHTS[index]) + 1 for other in others)
    passed = 0
    for count, waiting in history:
        for _ in range(count):
            left = tuple(min(1, all_) if other == index else all_ for other, all_ in enumerate(waiting))
            given_to = shares.allot(1, left)
            passed = 0 if given_to[index] or not waiting[index] else passed + 1
            assert passed <= most


def test_a_class_that_had_nothing_does_not_save_up():
    shares = Shares()
    shares.allot(10_000, (0, 20_000, 20_000))
    assert shares.allot(20, (100, 100, 100)) == [16, 3, 1]


def test_what_a_class_could_not_use_does_not_count():
    shares = Shares()
    assert shares.allot(40, (100, 100, 100)) == [32, 6, 2]
    shares.give_back(2, 1)
    shares.give_back(2, 1)
    assert shares.allot(20, (100, 100, 100))[2] >= 1
