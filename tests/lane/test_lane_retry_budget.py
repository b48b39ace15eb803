"""Repetitions are at most a tenth of the fresh requests of any minute, and a few."""

import hypothesis.strategies as st
from hypothesis import given, settings

from streams.lane.actions import Post
from streams.lane.retry_budget import FLOOR, SHARE, WINDOW_S, RetryBudget
from streams.lane.verdict import Accepted, Ambiguous, Reauthenticate, RetryLater
from tests.lane.making import START, Driven, minted_lane, row

HOURS_MS = 12 * 3_600_000


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.floats(0, 30), st.sampled_from(["fresh", "fresh", "fresh", "again", "again", "unsent", "accepted"])
        ),
        max_size=200,
    )
)
def test_no_minute_holds_more_repetitions_than_a_tenth_and_a_few(steps):
    budget, now_s = RetryBudget(), 0.0
    made: list[tuple[float, bool]] = []
    for wait_s, what in steps:
        now_s += wait_s
        if what == "unsent":
            if made and made[-1][0] == now_s:
                _, again = made.pop()
                budget.unsent(again=again)
        elif what == "accepted":
            budget.accepted(now_s)
            first = next((at for at, (sent_s, again) in enumerate(made) if again and sent_s > now_s - WINDOW_S), None)
            if first is not None:
                made[first] = (made[first][0], False)
        elif what == "fresh" or budget.allows(now_s):
            made.append((now_s, what == "again"))
            budget.sent(now_s, again=what == "again")
            minute = [again for sent_s, again in made if sent_s > now_s - WINDOW_S]
            assert what == "fresh" or sum(minute) < 1 + FLOOR + SHARE * (len(minute) - sum(minute))
        else:
            assert budget.ask_again_at(now_s) > now_s


def test_a_quiet_account_may_repeat_its_only_batch():
    assert RetryBudget().allows(0.0)


def live(driven, until_s, answer):
    """Answer all requests of a lane for so long."""
    while driven.now.boot_s < until_s:
        wait_s = driven.lane.wake_at(driven.now) - driven.now.boot_s
        for asked in driven.step(max(0.001, min(10.0, wait_s))):
            assert isinstance(asked, Post)
            driven.answer(asked, answer(asked), 0.05)


def busy(count=400, **options):
    driven = Driven(minted_lane(records_max=1, tokens_max=1, statuses="none", **options))
    driven.offer([row(number, ends_at=START.wall_ms + HOURS_MS) for number in range(count)])
    return driven


def test_an_answer_that_throws_everything_back_is_not_answered_with_more():
    """Ten minutes of a 503 that means "not applied" and asks to come back at once."""
    driven = busy()
    posts: list[str] = []

    def throw_back(post):
        posts.append(post.batch_ref)
        return RetryLater("http_503", retry_after_s=0.0, left=True)

    live(driven, START.boot_s + 600.0, throw_back)
    fresh = len(set(posts))
    assert len(posts) <= (1 + SHARE) * fresh + 11 * FLOOR, "ten minutes touch eleven"
    live(driven, START.boot_s + 1300.0, lambda post: Accepted(post.batch_ref))
    assert driven.lane.idle


def test_what_never_left_is_no_repetition():
    driven = busy(20)
    tries = 0

    def unreachable(_):
        nonlocal tries
        tries += 1
        return RetryLater("connect_failed", retry_after_s=0.0)

    live(driven, START.boot_s + 60.0, unreachable)
    assert tries > 3 * FLOOR


def test_a_batch_that_found_its_token_gone_is_no_repetition():
    driven = busy(1)
    driven.answer(driven.post(1.0), Reauthenticate("http_401"))
    assert not driven.lane.batches["ref-1"].again


def test_what_was_in_doubt_at_a_crash_is_a_repetition():
    driven = busy(1)
    driven.answer(driven.post(1.0), Ambiguous("http_500"))
    successor = driven.taken_over(driven.now)
    assert successor.lane.batches["ref-1"].again


def test_what_an_outage_has_left_goes_at_the_full_rate_once_it_is_over():
    driven = busy(30, in_flight_max_per_token=30)
    posts = [post for _ in range(60) for post in driven.step(1.0)]
    assert len(posts) == 30
    lane = driven.lane
    for post in posts:
        assert isinstance(post, Post)
        driven.answer(post, RetryLater("http_429", throttled=True, retry_after_s=0.0, left=True), 0.0)
    assert all(batch.again for batch in lane.batches.values())
    began_s = driven.now.boot_s
    live(driven, began_s + 120.0, lambda post: Accepted(post.batch_ref))
    assert lane.idle
