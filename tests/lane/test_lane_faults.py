"""Lanes and what can go wrong around them: sizes, clocks that jump, an API that throttles or fails, tokens."""

from collections import Counter

import pytest

from streams.contracts.outcome import Status
from streams.lane import answers
from streams.lane.actions import Check, Mint, Post
from streams.lane.checking import DEADLINE_GRACE_S
from streams.lane.instant import Instant
from streams.lane.mints import MINT_WINDOW_S
from streams.lane.pace import WINDOW_S
from streams.lane.token import TOKEN_USE_S
from streams.lane.verdict import (
    Accepted,
    Ambiguous,
    Minted,
    NotVisible,
    Reauthenticate,
    RecordState,
    Refuse,
    RetryLater,
    Split,
    Statuses,
)
from tests.lane.making import START, Driven, after, minted_lane, new_lane, record, row, said

HOUR_MS = 3_600_000


def jump(driven, hours):
    """The wall clock is set; the other one goes on."""
    driven.now = Instant(driven.now.wall_ms + round(hours * HOUR_MS), driven.now.boot_s)


def until_requested(driven, kind, seconds_max=400.0):
    """Let the lane sleep as long as it wants, until it asks for a request of this kind; returns all it asked for."""
    asked = []
    end_s = driven.now.boot_s + seconds_max
    while driven.now.boot_s < end_s:
        wake_s = min(driven.lane.wake_at(driven.now), end_s)
        found = driven.step(max(0.001, wake_s - driven.now.boot_s))
        asked += found
        if any(isinstance(one, kind) for one in found):
            return asked
    raise AssertionError(f"no {kind.__name__} within {seconds_max:g} s, but {asked}")


# --- Sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("intents", "sizes"),
    [
        pytest.param(0, [], id="F36-none"),
        pytest.param(1, [1], id="F36-1"),
        pytest.param(499, [499], id="F36-499"),
        pytest.param(500, [500], id="F36-500"),
        pytest.param(501, [500, 1], id="F36-501"),
        pytest.param(1000, [500, 500], id="F36-1000"),
    ],
)
def test_batches_have_at_most_500_records_and_never_none(intents, sizes):
    driven = Driven(minted_lane())
    if intents:
        driven.offer([row(number) for number in range(intents)])
    asked = [one for _ in range(4) for one in driven.step(1.0)]
    assert [len(one.held) for one in asked if isinstance(one, Post)] == sizes
    assert len(asked) == len(sizes)


@pytest.mark.faults("F36")
def test_intents_that_expire_together_leave_no_batch_without_records():
    driven = Driven(minted_lane(expiry_margin_ms=30_000))
    driven.offer([row(number, ends_at=START.wall_ms + 30_100) for number in range(3)])
    assert driven.step(1.0) == []
    assert [found for write in driven.writes for found in said(write)] == [(Status.EXPIRED, 3, 0, "expired", False)]
    assert not driven.lane.batches


# --- Clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.faults("F38")
@pytest.mark.parametrize("hours", [1.0, -1.0, 1 / 3600, -1 / 3600], ids=["+1h", "-1h", "+1s", "-1s"])
def test_a_wall_clock_that_is_set_neither_stops_nor_floods(hours):
    driven = Driven(minted_lane(tokens_max=1, requests_per_minute_per_token=10, records_max=1, statuses="none"))
    driven.offer([row(number, starts_at=START.wall_ms, ends_at=START.wall_ms + 12 * HOUR_MS) for number in range(30)])
    times_s: list[float] = []
    while len(times_s) < 30:
        for post in until_requested(driven, Post):
            times_s.append(driven.now.boot_s)
            driven.answer(post, Accepted(f"b-{len(times_s)}"))
        if len(times_s) == 5:
            jump(driven, hours)
    assert all(later - earlier >= WINDOW_S for earlier, later in zip(times_s, times_s[10:], strict=False))
    assert times_s[-1] - times_s[0] < 3 * WINDOW_S


@pytest.mark.faults("F38")
@pytest.mark.parametrize("hours", [1.0, -1.0], ids=["+1h", "-1h"])
def test_a_wall_clock_that_is_set_does_not_end_the_wait_for_statuses(hours):
    driven = Driven(minted_lane(status_deadline_s=600.0))
    late = row(0, ends_at=START.wall_ms + 12 * HOUR_MS)
    driven.offer([late])
    driven.answer(driven.post(1.0), Accepted("b-1"))
    jump(driven, hours)
    while driven.now.boot_s < START.boot_s + 590.0:
        (check,) = until_requested(driven, Check)
        driven.wrote(answers.checked(driven.lane, check.batch_ref, NotVisible("404"), 0, driven.now))
        assert driven.lane.batches, "the deadline is ten minutes on a clock, not an hour on the other"
    (check,) = until_requested(driven, Check)
    write = driven.wrote(answers.checked(driven.lane, check.batch_ref, Statuses((record(late),)), 0, driven.now))
    assert [status for status, *_ in said(write)] == [Status.DELIVERED]
    assert driven.now.boot_s <= START.boot_s + 600.0 + DEADLINE_GRACE_S


@pytest.mark.faults("F38")
@pytest.mark.parametrize("hours", [1.0, -1.0], ids=["+1h", "-1h"])
def test_mints_keep_their_quota_when_the_wall_clock_is_set(hours):
    driven = Driven(new_lane(token_mints_per_30_min=3))
    driven.offer([row(0, ends_at=START.wall_ms + 12 * HOUR_MS)])
    times_s: list[float] = []
    while len(times_s) < 7:
        until_requested(driven, Mint, 2 * MINT_WINDOW_S)
        times_s.append(driven.now.boot_s)
        driven.wrote(answers.minted(driven.lane, RetryLater("http_500"), 0, driven.now))
        if len(times_s) in {2, 5}:
            jump(driven, hours)
    assert all(later - earlier > MINT_WINDOW_S for earlier, later in zip(times_s, times_s[3:], strict=False))
    assert times_s[3] - times_s[0] < MINT_WINDOW_S + 200.0


@pytest.mark.parametrize(
    ("ahead_min", "fate"),
    [
        pytest.param(-10, [], id="F96-worker-10-min-behind"),
        pytest.param(10, [(Status.EXPIRED, 1, 0, "expired", False)], id="F96-worker-10-min-ahead"),
    ],
)
def test_expiry_goes_by_the_workers_clock(ahead_min, fate):
    """An intent that ends in five true minutes: a clock that is ten minutes ahead ends it, one that is behind sends."""
    true_ms = START.wall_ms
    driven = Driven(minted_lane(), Instant(true_ms + ahead_min * 60_000, START.boot_s))
    driven.offer([row(0, starts_at=true_ms, ends_at=true_ms + 5 * 60_000)])
    requests = driven.step(1.0)
    assert [found for write in driven.writes for found in said(write)] == fate
    assert len(requests) == (0 if fate else 1)


# --- An API that throttles --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish_s", "least_s", "most_s"),
    [
        pytest.param(0.0, 0.0, 1.5, id="F42-now"),
        pytest.param(5.0, 5.0, 6.5, id="F42-5-s"),
        pytest.param(300.0, 300.0, 330.5, id="F42-the-most-that-is-honoured"),
        pytest.param(None, 0.0, 1.5, id="F43-none"),
    ],
)
def test_a_throttled_token_pauses_as_long_as_the_server_wants(wish_s, least_s, most_s):
    driven = Driven(minted_lane())
    driven.offer([row(0)])
    driven.answer(driven.post(1.0), RetryLater("http_429", throttled=True, retry_after_s=wish_s))
    told_s = driven.now.boot_s
    until_requested(driven, Post)
    assert least_s - 0.001 <= driven.now.boot_s - told_s <= most_s


@pytest.mark.faults("F43")
def test_ten_minutes_of_429_cost_few_requests_and_no_intent():
    driven = Driven(minted_lane())
    driven.offer([row(number) for number in range(700)])
    over_s = START.boot_s + 600.0
    tried: list[Post] = []
    while driven.now.boot_s < over_s:
        for post in until_requested(driven, Post):
            tried.append(post)
            driven.answer(post, RetryLater("http_429", throttled=True))
    assert 10 <= len(tried) <= 60
    assert not [found for write in driven.writes for found in said(write)]
    accepted = Counter[str]()
    while accepted.total() < 700:
        for post in until_requested(driven, Post):
            driven.answer(post, Accepted("b"))
            accepted.update(one.row.intent_id for one in post.held)
    assert set(accepted.values()) == {1}


@pytest.mark.faults("F42")
def test_what_expires_while_the_api_throttles_is_told_and_not_sent():
    driven = Driven(minted_lane(expiry_margin_ms=30_000))
    driven.offer([row(0, ends_at=START.wall_ms + 120_000), row(1)])
    driven.answer(driven.post(1.0), RetryLater("http_429", throttled=True, retry_after_s=200.0))
    (post,) = until_requested(driven, Post)
    assert [one.row.source_offset for one in post.held] == [1]
    told = [found for write in driven.writes for found in said(write)]
    assert told == [(Status.EXPIRED, 1, 0, "expired", False)]


# --- Tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.faults("F45")
def test_ten_requests_that_find_their_token_gone_mint_once():
    driven = Driven(minted_lane(records_max=1, in_flight_max_per_token=10))
    driven.offer([row(number) for number in range(10)])
    posts = [post for _ in range(10) for post in driven.step(1.0) if isinstance(post, Post)]
    assert len(posts) == 10
    for post in posts:
        driven.answer(post, Reauthenticate("http_401"), 0.01)
    mints = [one for _ in range(50) for one in driven.step(1.0)]
    assert mints == [Mint()]
    driven.wrote(answers.minted(driven.lane, Minted("fresh"), 0, driven.now))
    sent = Counter(one.row.source_offset for post in until_all(driven, 10) for one in post.held)
    assert sent == Counter(range(10)), "none of them was applied, so each is sent once more"
    assert not [found for write in driven.writes for found in said(write) if found[0] is Status.UNKNOWN]


def test_a_short_time_in_which_no_token_is_taken_does_not_cost_all_mints():
    driven = Driven(minted_lane())
    driven.offer([row(0, ends_at=START.wall_ms + 12 * HOUR_MS)])
    mints = 0
    while driven.now.boot_s < START.boot_s + 120.0:
        for asked in driven.step(1.0):
            if isinstance(asked, Post):
                driven.answer(asked, Reauthenticate("http_401"))
            elif asked == Mint():
                mints += 1
                driven.wrote(answers.minted(driven.lane, Minted(f"token-{mints}"), 0, driven.now))
    assert 1 <= mints <= 6
    (post,) = until_requested(driven, Post)
    assert driven.now.boot_s < START.boot_s + 120.0 + 300.0
    assert said(driven.answer(post, Accepted("b-1"))) == [(Status.ACCEPTED, 1, 0, None, False)]


def test_a_token_that_worked_is_replaced_at_once():
    driven = Driven(minted_lane())
    driven.offer([row(0, ends_at=START.wall_ms + 12 * HOUR_MS)])
    driven.answer(driven.post(1.0), Accepted("b-1"))
    driven.offer([row(1, ends_at=START.wall_ms + 12 * HOUR_MS)], offset=1)
    driven.answer(driven.post(2.0), Reauthenticate("http_401"))
    assert driven.lane.hold_until_s - driven.now.boot_s <= 1.0


def until_all(driven, count):
    """The next POSTs, each accepted."""
    posts: list[Post] = []
    while len(posts) < count:
        for post in until_requested(driven, Post):
            assert post.token.secret == "fresh"
            posts.append(post)
            driven.answer(post, Accepted(f"b-{len(posts)}"))
    return posts


@pytest.mark.parametrize(
    "verdict",
    [
        pytest.param(RetryLater("http_429", throttled=True), id="F46-429"),
        pytest.param(RetryLater("http_500"), id="F46-500"),
        pytest.param(RetryLater("deadline"), id="F46-timeout"),
        pytest.param(Refuse("authorization-error"), id="F47-revoked"),
    ],
)
def test_a_token_endpoint_that_fails_for_two_hours_is_asked_within_the_quota(verdict):
    driven = Driven(new_lane())
    driven.offer([row(0, ends_at=START.wall_ms + 12 * HOUR_MS)])
    times_s: list[float] = []
    while driven.now.boot_s < START.boot_s + 7200.0:
        until_requested(driven, Mint, 2 * MINT_WINDOW_S)
        times_s.append(driven.now.boot_s)
        driven.wrote(answers.minted(driven.lane, verdict, 0, driven.now))
    assert all(later - earlier > MINT_WINDOW_S for earlier, later in zip(times_s, times_s[10:], strict=False))
    assert times_s[1] - times_s[0] >= 1.0
    assert not driven.lane.idle
    assert not [found for write in driven.writes for found in said(write)], "nobody is told that an intent has failed"


@pytest.mark.faults("F47")
def test_intents_of_an_account_whose_key_was_revoked_expire_and_are_no_dead_letters():
    driven = Driven(new_lane())
    driven.offer([row(0)])
    while driven.now.boot_s < START.boot_s + 4200.0:
        for asked in driven.step(10.0):
            assert asked == Mint()
            driven.wrote(answers.minted(driven.lane, Refuse("authorization-error"), 0, driven.now))
    told = [found for write in driven.writes for found in said(write)]
    assert told == [(Status.EXPIRED, 1, 0, "expired", False)]
    assert not [write for write in driven.writes if write.dead]


@pytest.mark.faults("F49")
def test_a_token_that_ends_before_its_post_leaves_is_renewed_once_and_nothing_is_doubled():
    driven = Driven(minted_lane())
    driven.now = after(TOKEN_USE_S - 0.5)
    driven.offer([row(0, ends_at=START.wall_ms + 12 * HOUR_MS)])
    mint, post = driven.step(0.3)
    assert isinstance(post, Post)
    assert mint == Mint(), "a successor is asked for a minute before a token is put away"
    driven.answer(post, Reauthenticate("http_401"))
    assert not driven.lane.batches["ref-1"].entry.possible_duplicate
    driven.wrote(answers.minted(driven.lane, Minted("fresh"), 0, driven.now))
    (again,) = until_requested(driven, Post)
    assert again.token.secret == "fresh"
    write = driven.answer(again, Accepted("b-1"))
    assert said(write) == [(Status.ACCEPTED, 1, 0, None, False)]


# --- Answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.faults("F56")
def test_an_id_that_was_seen_before_gives_no_intent_the_fate_of_another():
    driven = Driven(minted_lane(records_max=1))
    driven.offer([row(0), row(1)])
    posts = [driven.post(1.0), driven.post(1.0)]
    for post in posts:
        driven.answer(post, Accepted("the-same"))
    states = Statuses((record(row(0)), record(row(1), RecordState.FAILED)))
    fates = {}
    while driven.lane.batches:
        (check,) = until_requested(driven, Check)
        assert check.batch_id == "the-same"
        write = driven.wrote(answers.checked(driven.lane, check.batch_ref, states, 0, driven.now))
        fates.update({one.row.source_offset: outcomes.status for outcomes in write.outcomes for one in outcomes.held})
    assert fates == {0: Status.DELIVERED, 1: Status.FAILED}


@pytest.mark.faults("F62")
@pytest.mark.parametrize("code", [500, 502, 503, 504])
def test_half_an_hour_of_5xx_is_survived_without_a_busy_loop(code):
    driven = Driven(minted_lane(records_max=1, ambiguous_resends_max=2))
    driven.offer([row(number, ends_at=START.wall_ms + 12 * HOUR_MS) for number in range(40)])
    tries = 0
    while driven.now.boot_s < START.boot_s + 1800.0:
        for asked in driven.step(max(0.001, min(60.0, driven.lane.wake_at(driven.now) - driven.now.boot_s))):
            if isinstance(asked, Post):
                tries += 1
                driven.answer(asked, Ambiguous(f"http_{code}"))
    assert 30 <= tries <= 120, "a pause of up to a minute after each failure"
    ended = Counter(status for write in driven.writes for status, count, *_ in said(write) for _ in range(count))
    assert ended == {Status.UNKNOWN: tries // 3}, "three attempts each, one batch after the other"
    (post,) = until_requested(driven, Post)
    driven.answer(post, Accepted("b-1"))
    assert driven.lane.backoff.failures == 0


@pytest.mark.faults("F82")
@pytest.mark.parametrize("open_batches_max", [1200, 3])
def test_checks_and_posts_share_the_budget_and_neither_starves(open_batches_max):
    options = {"requests_per_minute_per_token": 12, "open_batches_max": open_batches_max, "status_deadline_s": 7200.0}
    driven = Driven(minted_lane(records_max=1, **options))
    driven.offer([row(number, ends_at=START.wall_ms + 12 * HOUR_MS) for number in range(200)])
    made: Counter[type] = Counter()
    while driven.now.boot_s < START.boot_s + 1200.0:
        for asked in driven.step(max(0.001, min(5.0, driven.lane.wake_at(driven.now) - driven.now.boot_s))):
            made[type(asked)] += 1
            if isinstance(asked, Post):
                driven.answer(asked, Accepted(f"b-{made[Post]}"), 0.01)
            elif isinstance(asked, Check):
                (sent,) = driven.lane.batches[asked.batch_ref].unpacked(driven.lane.tools.packer)
                states = Statuses((record(sent.row),))
                driven.wrote(answers.checked(driven.lane, asked.batch_ref, states, 0, driven.now))
    assert made[Post] + made[Check] >= 11 * 20, "the whole budget of twenty minutes, but for its spacing"
    if open_batches_max == 3:
        assert made[Check] >= made[Post] - 3
    else:
        assert made[Post] == 200, "submits go first while there is room"


@pytest.mark.parametrize(
    "verdict",
    [
        pytest.param(Split("http_400", "receiver", "is invalid"), id="F59-400"),
        pytest.param(Split("http_413", None, None, too_large=True), id="F61-413"),
        pytest.param(Split("http_422", None, None), id="F59-422"),
        pytest.param(Split("error_in_2xx", None, None), id="B78-error-in-200"),
    ],
)
def test_a_refused_batch_is_divided_and_nothing_of_it_is_rejected(verdict):
    driven = Driven(minted_lane())
    driven.offer([row(number) for number in range(500)])
    write = driven.answer(driven.post(1.0), verdict)
    assert said(write) == []
    assert [batch.unsettled_count for batch in driven.lane.batches.values()] == [250, 250]
    (part,) = driven.step(1.0)
    assert isinstance(part, Post)
    assert len(part.held) == 250


@pytest.mark.faults("F79", "F82")
def test_whatever_the_load_every_batch_is_asked_for_before_its_deadline():
    driven = Driven(minted_lane(records_max=1, requests_per_minute_per_token=12, status_deadline_s=600.0))
    driven.offer([row(number, ends_at=START.wall_ms + 12 * HOUR_MS) for number in range(600)])
    told: Counter[Status] = Counter()
    most_open = 0
    while driven.now.boot_s < START.boot_s + 3000.0:
        for asked in driven.step(max(0.001, min(5.0, driven.lane.wake_at(driven.now) - driven.now.boot_s))):
            if isinstance(asked, Post):
                driven.answer(asked, Accepted(f"b-{asked.batch_ref}"), 0.01)
                most_open = max(most_open, len(driven.lane.batches))
            elif isinstance(asked, Check):
                (sent,) = driven.lane.batches[asked.batch_ref].unpacked(driven.lane.tools.packer)
                states = Statuses((record(sent.row),))
                write = driven.wrote(answers.checked(driven.lane, asked.batch_ref, states, 0, driven.now))
                told.update(status for status, *_ in said(write))
    assert most_open == 30, "a quarter of ten minutes, at twelve requests each"
    assert told.keys() == {Status.DELIVERED}
    ended = [status for write in driven.writes for status, *_ in said(write) if status.final]
    assert len(ended) == told.total(), "none ended unasked"
