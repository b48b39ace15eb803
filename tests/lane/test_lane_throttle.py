"""A 429 holds up its token, and the account only where it cannot be about that token alone."""

import pytest

from streams.lane import answers, throttle
from streams.lane.actions import Mint, Post, Write
from streams.lane.mints import CLOCK_DOUBT_S
from streams.lane.recovery import hand_over
from streams.lane.verdict import Accepted, RetryLater, Statuses
from tests.lane.making import START, Driven, after, minted_lane, new_lane, record, row

HOURS_MS = 12 * 3_600_000


def two_tokens(used=40):
    """A lane that has sent so much in the last minute with each of two tokens, and two POSTs in flight, one of each."""
    driven = Driven(minted_lane(records_max=1, statuses="none", tokens_max=2))
    driven.lane.tokens.start_mint(driven.now)
    driven.lane.tokens.minted("second", driven.now)
    for token in driven.lane.tokens.usable(driven.now):
        token.pace.restore([driven.now.boot_s] * used)
    driven.offer([row(number, ends_at=START.wall_ms + HOURS_MS) for number in range(40)])
    first, second = [asked for _ in range(2) for asked in driven.step(1.0)]
    assert isinstance(first, Post)
    assert isinstance(second, Post)
    assert first.token is not second.token
    return driven, first, second


def throttled(retry_after_s=20.0):
    return RetryLater("http_429", throttled=True, retry_after_s=retry_after_s, left=True)


@pytest.mark.faults("F42")
def test_a_429_holds_up_its_token_and_the_others_go_on():
    driven, first, second = two_tokens()
    driven.answer(first, throttled())
    driven.answer(second, Accepted("b-2"))
    asked = driven.step(2.0)
    assert [post.token for post in asked if isinstance(post, Post)] == [second.token]
    assert driven.lane.hold_until_s < driven.now.boot_s
    again = {post.batch_ref for post in asked if isinstance(post, Post)}
    assert again == {first.batch_ref}, "it was not applied and goes again with another token"


@pytest.mark.faults("F42")
def test_when_several_tokens_are_throttled_the_account_is():
    driven, first, second = two_tokens()
    driven.answer(first, throttled())
    driven.answer(second, throttled())
    assert driven.lane.hold_until_s >= driven.now.boot_s + 20.0
    assert driven.step(10.0) == []
    tokens = driven.lane.tokens
    assert tokens.pace.learned(driven.now.boot_s) < tokens.pace.limit
    assert tokens.learned_per_minute(driven.now) <= 84


def test_a_token_that_has_hardly_been_used_tells_of_the_account():
    driven, first, _ = two_tokens(used=5)
    driven.answer(first, throttled())
    assert driven.lane.hold_until_s >= driven.now.boot_s + 20.0
    assert first.token.pace.learned(driven.now.boot_s) == 60, "it is not its own limit that it has reached"


def test_without_a_wish_each_429_in_a_row_holds_longer_up_to_a_minute():
    driven, first, _ = two_tokens()
    ceilings_s = []
    for _ in range(9):
        driven.lane.tools.rng.seed(7)
        held_s = driven.lane.tools.rng.uniform(0, 1)
        driven.lane.tools.rng.seed(7)
        throttle.throttled(driven.lane, first.token, None, driven.now, Write())
        ceilings_s.append(round((first.token.pace.held_until_s - driven.now.boot_s) / held_s, 3))
        first.token.pace.held_until_s = float("-inf")
    assert ceilings_s == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_an_accepted_batch_ends_the_row():
    driven, first, _ = two_tokens()
    throttle.throttled(driven.lane, first.token, None, driven.now, Write())
    assert first.token.backoff.failures == 1
    driven.answer(first, Accepted("b-1"))
    assert first.token.backoff.failures == 0


def test_no_token_is_minted_while_the_api_throttles():
    driven = Driven(minted_lane(records_max=1, statuses="none", requests_per_minute_per_token=3))
    driven.offer([row(number, ends_at=START.wall_ms + HOURS_MS) for number in range(100)])
    until_s = driven.now.boot_s + 300.0
    while driven.now.boot_s < until_s:
        for asked in driven.step(1.0):
            assert asked != Mint()
            assert isinstance(asked, Post)
            driven.answer(asked, throttled(0.0), 0.01)


def test_an_answer_that_says_that_nothing_is_left_holds_up_its_token():
    driven, first, second = two_tokens()
    driven.answer(first, Accepted("b-1", 30.0))
    driven.answer(second, Accepted("b-2"))
    used = [post.token for _ in range(5) for post in driven.step(2.0) if isinstance(post, Post)]
    assert used
    assert all(token is second.token for token in used)
    assert first.token.pace.learned(driven.now.boot_s) == 60


def test_a_status_answer_that_says_that_nothing_is_left_holds_up_its_token():
    driven = Driven(minted_lane(tokens_max=1))
    driven.offer([row(0, ends_at=START.wall_ms + HOURS_MS)])
    driven.answer(driven.post(1.0), Accepted("b-1"))
    check = driven.check(10.0)
    (sent,) = driven.lane.batches[check.batch_ref].unpacked(driven.lane.tools.packer)
    driven.wrote(answers.checked(driven.lane, check.batch_ref, Statuses((record(sent.row),), 40.0), 0, driven.now))
    assert check.token.pace.held_until_s == driven.now.boot_s + 40.0


@pytest.mark.parametrize("wish_s", [0.0, 5.0, 60.0])
def test_workers_that_were_told_the_same_time_do_not_come_back_together(wish_s):
    back_s = []
    for seed in range(30):
        driven, first, _ = two_tokens()
        driven.lane.tools.rng.seed(seed)
        driven.answer(first, throttled(wish_s))
        back_s.append(first.token.pace.held_until_s - driven.now.boot_s)
    assert min(back_s) >= wish_s
    assert max(back_s) <= wish_s + max(1.0, wish_s / 10)
    assert max(back_s) - min(back_s) > 0.8 * max(1.0, wish_s / 10)


def test_an_outage_of_many_accounts_ends_without_a_spike():
    """Sixty accounts meet failures for ten minutes; the first POST of each after it is spread over the last pause."""
    back_s: list[float] = []
    for seed in range(60):
        driven = Driven(minted_lane(records_max=1, statuses="none", tokens_max=1))
        driven.lane.tools.rng.seed(seed)
        driven.offer([row(number, ends_at=START.wall_ms + HOURS_MS) for number in range(5)])
        while driven.now.boot_s < START.boot_s + 600.0 or not back_s or len(back_s) <= seed:
            wait_s = max(0.001, min(30.0, driven.lane.wake_at(driven.now) - driven.now.boot_s))
            for asked in driven.step(wait_s):
                assert isinstance(asked, Post)
                if driven.now.boot_s < START.boot_s + 600.0:
                    driven.answer(asked, RetryLater("http_503", left=True), 0.05)
                else:
                    back_s.append(driven.now.boot_s - START.boot_s - 600.0)
    seconds = [int(at_s) for at_s in back_s]
    assert max(seconds.count(second) for second in seconds) <= 8
    assert max(back_s) - min(back_s) > 25.0


@pytest.mark.parametrize("account", [False, True], ids=["a token", "the account"])
@pytest.mark.parametrize("released", [False, True], ids=["crashed", "handed over"])
@pytest.mark.faults("F42")
def test_a_new_owner_knows_what_429s_have_taught(released, account):
    driven, first, second = two_tokens(used=5 if account else 40)
    driven.answer(first, throttled(100.0))
    driven.answer(second, Accepted("b-2"))
    if released:
        driven.wrote(hand_over(driven.lane, driven.now))
    taken = driven.taken_over(after(10.0, driven.now), new_lane(tokens_max=2))
    tokens, now_s = taken.lane.tokens, taken.now.boot_s
    same, other = tokens.usable(taken.now)
    assert (tokens.pace if account else same.pace).learned(now_s) == (84 if account else 42)
    assert other.pace.learned(now_s) == 60
    held_until_s = first.token.pace.held_until_s
    assert held_until_s <= same.pace.held_until_s <= held_until_s + 2 * CLOCK_DOUBT_S
    assert (tokens.pace.held_until_s > now_s) == account
    assert not second.token.pace.held_until_s > now_s


def test_a_pause_in_the_journal_is_taken_over_for_ten_minutes_at_most():
    driven, first, second = two_tokens()
    driven.answer(first, throttled(100_000.0))
    driven.answer(second, Accepted("b-2"))
    taken = driven.taken_over(driven.now, new_lane(tokens_max=2))
    assert taken.lane.tokens.usable(taken.now)[0].pace.held_until_s == driven.now.boot_s + 600.0


def test_a_rate_that_was_learned_long_ago_has_come_back():
    driven, first, second = two_tokens()
    driven.answer(first, throttled())
    driven.answer(second, Accepted("b-2"))
    taken = driven.taken_over(after(420.0, driven.now), new_lane(tokens_max=2))
    tokens = taken.lane.tokens
    assert not tokens.throttled(taken.now)
    assert tokens.entry(taken.now, released=False).throttles == ()


@pytest.mark.parametrize(("throttled_ones", "learned"), [(1, 60), (2, 42)], ids=["one of two", "all"])
def test_a_fresh_token_is_believed_to_be_given_no_more_than_the_others(throttled_ones, learned):
    driven, first, second = two_tokens()
    for post in (first, second)[:throttled_ones]:
        post.token.pace.throttled(driven.now.boot_s)
    driven.lane.tokens.start_mint(driven.now)
    fresh = driven.lane.tokens.minted("third", driven.now)
    assert fresh.pace.learned(driven.now.boot_s) == learned
