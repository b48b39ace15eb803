import random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from streams.contracts.journal import JournalKey, TokensEntry, decode_entry, encode_entry
from streams.lane.mints import CLOCK_DOUBT_S, CRASH_MINT_S, CRASH_RUN_S, MINT_WINDOW_S
from streams.lane.token import RENEW_EARLY_S, TOKEN_USE_S
from streams.lane.tokens import Tokens
from tests.lane.making import START, OpenSealer, after

NO_JITTER = random.Random(0)


def tokens(limit=60, mints=10, tokens_max=1):
    return Tokens(requests_per_minute=limit, mints_per_30_min=mints, tokens_max=tokens_max, sealer=OpenSealer())


def successor(left, now, *, released, limit=60, mints=10):
    entry = decode_entry(JournalKey("tokens", "a"), encode_entry(left.entry(now, released=released)))
    assert isinstance(entry, TokensEntry)
    found = tokens(limit, mints)
    found.restore(entry, now)
    return found


def with_token(now=START, **options):
    pool = tokens(**options)
    pool.start_mint(now)
    return pool, pool.minted("secret", now)


def test_the_first_token_is_asked_for_at_once_and_once():
    pool = tokens()
    assert pool.mint_at(START) <= START.boot_s
    pool.start_mint(START)
    assert pool.mint_at(START) == float("inf")


@pytest.mark.faults("F49")
def test_a_token_is_renewed_before_it_is_put_away():
    pool, token = with_token()
    assert pool.mint_at(START) == START.boot_s + TOKEN_USE_S - RENEW_EARLY_S
    renewed_at = after(TOKEN_USE_S - RENEW_EARLY_S)
    pool.start_mint(renewed_at)
    fresh = pool.minted("fresh", renewed_at)
    assert fresh.ordinal == token.ordinal + 1
    assert pool.usable(renewed_at) == [token, fresh]
    assert pool.usable(after(TOKEN_USE_S)) == [fresh]


def test_a_dropped_token_is_replaced_at_once():
    pool, token = with_token()
    pool.refused(token, START)
    assert pool.find(token.ordinal) is None
    assert pool.mint_at(START) <= START.boot_s


@pytest.mark.faults("F46")
def test_a_failed_mint_is_tried_again_later_and_honours_the_server():
    pool = tokens()
    pool.start_mint(START)
    pool.mint_failed(START, NO_JITTER, 90.0)
    assert pool.mint_at(START) >= START.boot_s + 90.0


@pytest.mark.parametrize("limit", [1, 60])
def test_a_token_that_is_throttled_or_busy_is_not_replaced(limit):
    pool, token = with_token(limit=limit)
    renewal_s = START.boot_s + TOKEN_USE_S - RENEW_EARLY_S
    token.pace.take(START.boot_s)
    assert pool.mint_at(START) == renewal_s, "its slot is taken"
    token.pace.ended(START.boot_s + 1.0)
    assert pool.mint_at(after(1.0)) == renewal_s, "its slot is free in a minute"
    token.pace.hold(START.boot_s + 900.0)
    assert pool.mint_at(after(1.0)) == renewal_s, "a fresh one would be throttled too"


def test_no_secret_is_shown():
    _, token = with_token()
    assert "secret" not in repr(token)


@settings(max_examples=80, deadline=None)
@given(
    mints_max=st.integers(1, 4),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["mint", "crash before", "crash after", "hand over", "drop"]),
            st.floats(0, 900),  # seconds until the next
            st.floats(0, 40),  # until an attempt that was journaled leaves
            st.floats(0, 30),  # its latency
            st.floats(-2.5, 2.5),  # how far the next owner's clock is off
        ),
        max_size=40,
    ),
)
@pytest.mark.faults("F40", "F46")
def test_mints_keep_their_quota_over_restarts(mints_max, steps):
    """The server sees an attempt as late as it can; clocks of owners differ by up to 5 s."""
    owners = Owners(mints_max)
    for what, wait_s, leaves_s, latency_s, next_skew_s in steps:
        owners.time_s += wait_s
        if what == "drop":
            owners.drop_all()
        elif what == "hand over":
            owners.succeed(owners.pool.entry(owners.now(), released=True), next_skew_s)
        elif owners.pool.mint_at(owners.now()) <= owners.now().boot_s:
            owners.mint(what, leaves_s, latency_s, next_skew_s)
    seen = sorted(owners.seen)
    for first, last in zip(seen, seen[mints_max:], strict=False):
        assert last - first >= MINT_WINDOW_S


class Owners:
    """One owner after the other, and when the server saw their mints."""

    def __init__(self, mints_max):
        self.mints_max = mints_max
        self.pool = tokens(mints=mints_max)
        self.time_s = self.skew_s = 0.0
        self.seen: list[float] = []

    def now(self):
        return after(self.time_s)._replace(wall_ms=START.wall_ms + round((self.time_s + self.skew_s) * 1000))

    def drop_all(self):
        for token in list(self.pool.usable(self.now())):
            self.pool.refused(token, self.now())

    def succeed(self, entry, skew_s):
        self.skew_s = skew_s
        self.pool = tokens(mints=self.mints_max)
        self.pool.restore(entry, self.now())

    def mint(self, what, leaves_s, latency_s, next_skew_s):
        self.pool.start_mint(self.now())
        journaled = self.pool.entry(self.now(), released=False)
        if what == "crash before":
            self.succeed(journaled, next_skew_s)
            return
        self.time_s += leaves_s
        self.seen.append(self.time_s + latency_s)
        if what == "crash after":
            self.succeed(journaled, next_skew_s)
        else:
            self.time_s += latency_s
            self.pool.minted("secret", self.now())


@pytest.mark.faults("F40", "F41")
def test_after_a_crash_a_known_token_rests_until_its_requests_have_been_forgotten():
    pool, token = with_token(limit=3)
    token.pace.take(START.boot_s)
    crashed_at = after(1.0)
    restored = successor(pool, crashed_at, released=False, limit=3)
    (same,) = restored.usable(crashed_at)
    assert same.secret == "secret"
    assert same.pace.ready_at(crashed_at.boot_s) == crashed_at.boot_s + CRASH_RUN_S + 60.0
    assert restored.mint_at(crashed_at) <= crashed_at.boot_s, "a fresh one need not wait"


def test_the_rest_after_a_crash_survives_a_hand_over():
    pool, _ = with_token(limit=3)
    second = successor(pool, after(1.0), released=False, limit=3)
    third = successor(second, after(2.0), released=True, limit=3)
    (same,) = third.usable(after(2.0))
    assert same.pace.free(after(60.0).boot_s) == 0


@pytest.mark.faults("F41")
def test_a_released_token_goes_on_at_once_with_its_use():
    pool, token = with_token(limit=3)
    token.pace.take(START.boot_s)
    token.pace.ended(START.boot_s + 1.0)
    released_at = after(2.0)
    restored = successor(pool, released_at, released=True, limit=3)
    (same,) = restored.usable(released_at)
    assert same.pace.ready_at(released_at.boot_s) <= released_at.boot_s
    assert same.pace.used(released_at.boot_s) == 1
    assert same.pace.used(released_at.boot_s + 60.0) == 1, "the clock that wrote it may have been behind"
    assert same.pace.used(released_at.boot_s + 60.0 + CLOCK_DOUBT_S) == 0
    assert same.use_until_s == START.boot_s + TOKEN_USE_S - CLOCK_DOUBT_S


def test_what_was_sent_with_a_token_that_was_put_away_counts_for_the_account_after_a_hand_over():
    pool, old = with_token(limit=3)
    for _ in range(3):
        old.pace.take(START.boot_s)
        pool.pace.take(START.boot_s)
        pool.ended(old.ordinal, after(1.0))
    pool.start_mint(after(2.0))
    pool.proved(pool.minted("fresh", after(2.0)))
    restored = successor(pool, after(3.0), released=True, limit=3)
    (fresh,) = restored.usable(after(3.0))
    assert fresh.pace.free(after(3.0).boot_s) == 3
    assert restored.best(after(3.0)) is None, "the account has had its three of this minute"
    assert restored.best(after(62.0 + CLOCK_DOUBT_S)) is fresh


def test_a_token_whose_request_still_runs_is_not_released():
    pool, token = with_token()
    token.pace.take(START.boot_s)
    assert not pool.entry(START, released=True).released


def test_a_token_sealed_for_somebody_else_is_dropped():
    pool, _ = with_token()
    entry = pool.entry(START, released=True)
    (sealed,) = entry.tokens
    restored = tokens()
    restored.restore(
        TokensEntry((sealed.__class__(0, sealed.minted_at, "other"),), entry.mints, 1, released=True), START
    )
    assert restored.usable(START) == []
    assert restored.mint_at(START) <= START.boot_s


@pytest.mark.parametrize("released", [False, True], ids=["crashed", "released"])
def test_the_mint_that_may_have_been_under_way_counts_from_its_latest(released):
    pool = tokens(mints=1)
    pool.start_mint(START)
    restored = successor(pool, after(10.0), released=released, mints=1)
    latest_s = 0.0 if released else min(10.0 + CRASH_RUN_S, CRASH_MINT_S)
    assert restored.mint_at(after(10.0)) == START.boot_s + latest_s + MINT_WINDOW_S + CLOCK_DOUBT_S


def test_the_mint_that_was_under_way_is_known_after_two_crashes_in_a_row():
    first = tokens(mints=2)
    first.start_mint(START)
    second = successor(first, after(1.0), released=False, mints=2)
    second.start_mint(after(2.0))
    third = successor(second, after(30.0), released=False, mints=2)
    # The first is taken to have reached the server by second 36, the second, after the crash at 30, by second 65.
    assert third.mint_at(after(30.0)) == START.boot_s + 36.0 + MINT_WINDOW_S + CLOCK_DOUBT_S
    assert third.entry(after(30.0), released=False).mints == (after(36.0).wall_ms, after(65.0).wall_ms)


def test_ordinals_go_on_after_a_restart():
    pool, token = with_token()
    restored = successor(pool, START, released=True)
    restored.start_mint(START)
    assert restored.minted("fresh", START).ordinal == token.ordinal + 1


def test_crashes_in_a_row_do_not_swell_the_entry():
    pool, _ = with_token(limit=6_000, mints=10)
    for crash in range(1, 7):
        now = after(60.0 * crash)
        pool = successor(pool, now, released=False, limit=6_000)
        pool.start_mint(now)
        pool.minted("secret", now)
    assert len(encode_entry(pool.entry(after(400.0), released=False))) < 10_000


# What the clock of the worker before was off, against ours; both are within 5 s of each other.
OFF_S = [
    pytest.param(-CLOCK_DOUBT_S, id="behind"),
    pytest.param(0.0, id="alike"),
    pytest.param(CLOCK_DOUBT_S, id="ahead"),
]


def seen_by(off_s, seconds):
    """A moment as the worker before saw it, whose clock was off."""
    now = after(seconds)
    return now._replace(wall_ms=now.wall_ms + round(off_s * 1000))


@pytest.mark.parametrize("off_s", OFF_S)
def test_a_foreign_clock_never_frees_a_slot_too_early(off_s):
    pool, token = with_token(seen_by(off_s, 0.0), limit=1)
    token.pace.take(START.boot_s)
    token.pace.ended(START.boot_s + 10.0)
    entry = pool.entry(seen_by(off_s, 12.0), released=True)
    ours = tokens(limit=1)
    ours.restore(entry, after(12.0))
    (same,) = ours.usable(after(12.0))
    freed_s = same.pace.free_at(1, after(12.0).boot_s)
    assert START.boot_s + 70.0 <= freed_s <= START.boot_s + 70.0 + 2 * CLOCK_DOUBT_S


@pytest.mark.parametrize("off_s", OFF_S)
def test_a_foreign_clock_never_keeps_a_token_too_long(off_s):
    pool, _ = with_token(seen_by(off_s, 0.0))
    ours = tokens()
    ours.restore(pool.entry(seen_by(off_s, 12.0), released=True), after(12.0))
    (same,) = ours.usable(after(12.0))
    ends_s = START.boot_s + TOKEN_USE_S
    assert ends_s - 2 * CLOCK_DOUBT_S <= same.use_until_s <= ends_s


@pytest.mark.parametrize("off_s", OFF_S)
def test_a_foreign_clock_never_frees_a_mint_too_early(off_s):
    pool, _ = with_token(seen_by(off_s, 0.0), mints=1)
    ours = tokens(mints=1)
    ours.restore(pool.entry(seen_by(off_s, 12.0), released=True), after(12.0))
    (same,) = ours.usable(after(12.0))
    ours.refused(same, after(12.0))
    allowed_s = START.boot_s + MINT_WINDOW_S
    assert allowed_s <= ours.mint_at(after(12.0)) <= allowed_s + 2 * CLOCK_DOUBT_S


@pytest.mark.parametrize("off_s", OFF_S)
def test_the_rest_after_a_crash_depends_on_no_foreign_clock(off_s):
    pool, _ = with_token(seen_by(off_s, 0.0), limit=3)
    ours = tokens(limit=3)
    ours.restore(pool.entry(seen_by(off_s, 1.0), released=False), after(2.0))
    (same,) = ours.usable(after(2.0))
    assert same.pace.free(after(2.0 + 94.9).boot_s) == 0
    assert same.pace.ready_at(after(2.0).boot_s) == after(2.0 + 95.0).boot_s
    same.pace.take(after(97.0).boot_s)
    assert same.pace.ready_at(after(97.0).boot_s) > after(97.0).boot_s, "and no burst follows"
