"""The pool of tokens: it grows for full batches that wait, is careful with its quota, and never ends at once."""

import random
from dataclasses import dataclass, field
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from streams.contracts.journal import JournalKey, TokensEntry, decode_entry, encode_entry
from streams.lane import answers
from streams.lane.actions import Mint, Post
from streams.lane.minting import ALONE_S, GAP_S, GROW_AFTER_S
from streams.lane.mints import MINT_WINDOW_S
from streams.lane.token import TOKEN_USE_S
from streams.lane.tokens import Tokens
from streams.lane.verdict import Accepted, Minted, Reauthenticate, Refuse
from tests.lane.making import START, Driven, OpenSealer, after, minted_lane, row

HOURS_MS = 12 * 3_600_000
MINUTE_S = 60.0


def pool_of(tokens_max=10, mints=10, limit=60):
    return Tokens(requests_per_minute=limit, mints_per_30_min=mints, tokens_max=tokens_max, sealer=OpenSealer())


@dataclass
class Account:
    """A pool on a clock of its own that mints whenever it may; ``busy`` is the share of its whole rate that it needs.

    With 1 full batches always wait.
    """

    pool: Tokens
    busy: float = 1.0
    seconds: float = 0.0
    minted_s: list[float] = field(default_factory=list)
    fails: bool = False

    @property
    def now(self):
        return after(self.seconds)

    def live(self, seconds, tick_s=1.0):
        until_s = self.seconds + seconds
        while self.seconds < until_s:
            self.seconds += tick_s
            self.use()
            if self.pool.mint_at(self.now) <= self.now.boot_s:
                self.mint()

    def use(self):
        pool, now = self.pool, self.now
        pool.minting.demand.assume(self.busy * pool.pace.limit, now.boot_s)
        for token in pool.usable(now) if self.busy == 1.0 else []:
            while token.pace.free(now.boot_s):
                token.pace.take(now.boot_s)
                token.pace.ended(now.boot_s)
        pool.press(now, waits=self.busy == 1.0)

    def mint(self):
        self.pool.start_mint(self.now)
        self.minted_s.append(self.seconds)
        if self.fails:
            self.pool.mint_failed(self.now, random.Random(1), None)
        else:
            self.pool.proved(self.pool.minted("secret", self.now))

    @property
    def size(self):
        return len(self.pool.usable(self.now))

    def crash(self):
        entry = decode_entry(JournalKey("tokens", "a"), encode_entry(self.pool.entry(self.now, released=False)))
        assert isinstance(entry, TokensEntry)
        self.pool = pool_of(self.pool.minting.size_max)
        self.pool.restore(entry, self.now)


def most_in(seconds, window_s):
    return max(sum(first <= other < first + window_s for other in seconds) for first in seconds)


# --- Growing ----------------------------------------------------------------------------------------------------------


def waiting_lane(**options):
    driven = Driven(minted_lane(records_max=1, requests_per_minute_per_token=3, statuses="none", **options))
    driven.offer([row(number, ends_at=START.wall_ms + HOURS_MS) for number in range(300)])
    return driven


def until_mint(driven, most_s):
    """Accept every POST until a token is asked for, for so long at most; returns how long that was, or ``None``."""
    until_s = driven.now.boot_s + most_s
    began_s = driven.now.boot_s
    while driven.now.boot_s < until_s:
        for asked in driven.step(0.5):
            if asked == Mint():
                return driven.now.boot_s - began_s
            assert isinstance(asked, Post)
            driven.answer(asked, Accepted(asked.batch_ref), 0.01)
    return None


def test_a_full_batch_that_waits_for_a_slot_brings_another_token():
    driven = waiting_lane()
    took_s = until_mint(driven, 120.0)
    third_s = 2 * 0.8 * 20.0
    assert took_s is not None
    assert third_s + GROW_AFTER_S <= took_s <= third_s + GROW_AFTER_S + 2.0, "the third slot, and two seconds"


@pytest.mark.parametrize(("answer_s", "grows"), [(0.5, False), (5.0, True)])
def test_an_api_that_is_slow_to_answer_is_asked_with_more_tokens(answer_s, grows):
    """Two in flight at a time, each for so long."""
    driven = Driven(minted_lane(records_max=1, in_flight_max_per_token=2, statuses="none"))
    driven.offer([row(number, ends_at=START.wall_ms + HOURS_MS) for number in range(100)])
    running: list[tuple[float, Post]] = []
    minted = False
    while driven.now.boot_s < START.boot_s + 45.0 and not minted:
        for asked in driven.step(0.1):
            minted |= asked == Mint()
            if isinstance(asked, Post):
                running.append((driven.now.boot_s + answer_s, asked))
        while running and running[0][0] <= driven.now.boot_s:
            driven.answer(running.pop(0)[1], Accepted("b"), 0.0)
    assert minted == grows


def test_one_token_is_all_where_that_is_the_limit():
    assert until_mint(waiting_lane(tokens_max=1), 1800.0) is None


def test_a_batch_that_is_not_full_brings_no_token():
    driven = Driven(minted_lane(records_max=500, requests_per_minute_per_token=3, statuses="none"))
    for number in range(60):
        driven.offer([row(number, ends_at=START.wall_ms + HOURS_MS)], offset=number)
        assert until_mint(driven, 5.0) is None


def test_no_token_is_minted_for_an_account_that_is_held_up():
    driven = waiting_lane()
    driven.answer(driven.post(0.5), Refuse("http_403"))
    driven.lane.hold_until_s = driven.now.boot_s + 1800.0
    assert until_mint(driven, 1700.0) is None


def test_posts_in_flight_grow_with_the_pool():
    driven = Driven(minted_lane(records_max=1, in_flight_max_per_token=2, statuses="none"))
    driven.offer([row(number, ends_at=START.wall_ms + HOURS_MS) for number in range(30)])
    driven.lane.tokens.start_mint(driven.now)
    driven.lane.tokens.minted("second", driven.now)
    posts = [asked for _ in range(20) for asked in driven.step(1.0)]
    assert len(posts) == 4
    assert {post.token.ordinal for post in posts if isinstance(post, Post)} == {0, 1}


# --- The quota of mints -----------------------------------------------------------------------------------------------


def test_a_pool_that_is_needed_grows_to_ten_and_keeps_some_of_its_quota():
    account = Account(pool_of())
    account.live(35 * MINUTE_S)
    assert account.size == 10
    assert account.minted_s[9] <= 31 * MINUTE_S
    assert most_in(account.minted_s, MINT_WINDOW_S) <= 9


def test_a_full_pool_keeps_two_mints_back_and_is_renewed_evenly():
    account = Account(pool_of())
    account.live(36 * MINUTE_S)
    account.live(5 * 3600.0, tick_s=10.0)
    assert account.size >= 10
    renewals = [at_s for at_s in account.minted_s if at_s > 36 * MINUTE_S]
    assert most_in(renewals, MINT_WINDOW_S) <= 8
    late = [at_s for at_s in account.minted_s if at_s > 4 * 3600.0]
    assert most_in(late, MINT_WINDOW_S) <= 6
    assert min(later - earlier for earlier, later in pairwise(late)) > 300.0


@pytest.mark.parametrize("tokens_max", [2, 5, 10])
def test_tokens_never_end_together(tokens_max):
    account = Account(pool_of(tokens_max))
    for _ in range(4 * 60):
        account.live(MINUTE_S, tick_s=4.0)
        ends_s = sorted(token.use_until_s for token in account.pool.usable(account.now))
        gaps_s = [later - earlier for earlier, later in pairwise(ends_s)]
        assert min(gaps_s, default=GAP_S) >= GAP_S
    assert account.size >= tokens_max


def test_there_is_always_a_token_to_use():
    account = Account(pool_of(tokens_max=1))
    account.live(5.0)
    for _ in range(600):
        account.live(30.0, tick_s=10.0)
        assert account.size >= 1


def test_a_token_that_is_not_needed_is_not_renewed():
    account = Account(pool_of())
    account.live(35 * MINUTE_S)
    account.busy = 0.25
    account.live(70 * MINUTE_S)
    assert account.size == 4, "a quarter of 600 a minute, with a fifth to spare"


def test_a_quota_of_few_mints_keeps_as_many_tokens_alive_as_it_can():
    account = Account(pool_of(mints=5))
    account.live(5 * 3600.0, tick_s=5.0)
    assert account.pool.minting.size_max == 7
    assert account.size >= 7
    assert most_in(account.minted_s, MINT_WINDOW_S) <= 5


@settings(max_examples=25, deadline=None)
@given(
    tokens_max=st.integers(1, 10),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["live", "live", "live", "crash", "refuse one", "refuse all", "endpoint fails"]),
            st.floats(1, 900),
            st.sampled_from([0.0, 0.3, 1.0]),
        ),
        max_size=25,
    ),
)
@pytest.mark.faults("F40", "F46")
def test_mints_keep_their_quota_whatever_happens_to_a_pool(tokens_max, steps):
    account = Account(pool_of(tokens_max))
    for what, seconds, busy in steps:
        account.busy = busy
        account.fails = what == "endpoint fails"
        tokens = list(account.pool.usable(account.now))
        if what == "crash":
            account.crash()
        for token in tokens if what == "refuse all" else tokens[:1] if what == "refuse one" else []:
            if account.pool.find(token.ordinal) is token:
                account.pool.refused(token, account.now)
        account.live(seconds, tick_s=7.0)
    assert not account.minted_s or most_in(account.minted_s, MINT_WINDOW_S) <= 10


def test_a_crash_in_a_loop_leaves_some_of_the_quota():
    account = Account(pool_of())
    account.live(10.0)
    while account.seconds < 3600.0:
        account.crash()
        account.live(7.0)
    assert 3 <= most_in(account.minted_s, MINT_WINDOW_S) <= 8


def test_after_a_crash_a_fresh_token_is_asked_for_at_once():
    account = Account(pool_of())
    account.live(10.0)
    for minutes in (1, 5, 10):
        account.crash()
        account.live(1.0)
        assert len(account.minted_s) >= 2
        assert account.seconds - account.minted_s[-1] <= 1.0
        account.busy = 0.0
        account.live(minutes * MINUTE_S)


def test_attempts_of_which_nothing_comes_are_further_and_further_apart():
    """Each owner crashes after its mint was journaled and before the token was."""
    account = Account(pool_of())
    while account.seconds < 900.0:
        account.seconds += 1.0
        if account.pool.mint_at(account.now) <= account.now.boot_s:
            account.pool.start_mint(account.now)
            account.minted_s.append(account.seconds)
            account.crash()
    assert len(account.minted_s) <= 9, "in a quarter of an hour"
    gaps_s = [later - earlier for earlier, later in pairwise(account.minted_s)]
    assert gaps_s == sorted(gaps_s)


# --- Tokens that are refused ------------------------------------------------------------------------------------------


def grown(count, age_s=600.0):
    """A pool of tokens that all have worked, the last of which is this old."""
    pool = pool_of()
    for number in range(count):
        now = after(number * 300.0)
        pool.start_mint(now)
        pool.proved(pool.minted(f"secret-{number}", now))
    return pool, after((count - 1) * 300.0 + age_s)


@pytest.mark.faults("F45")
def test_a_token_that_worked_is_replaced_at_once_and_once():
    pool, now = grown(3)
    pool.refused(pool.usable(now)[0], now)
    assert pool.mint_at(now) <= now.boot_s
    pool.start_mint(now)
    fresh = pool.minted("fresh", now)
    assert pool.mint_at(now) > now.boot_s + 600.0
    later = after(now.boot_s - START.boot_s + 120.0)
    pool.refused(pool.usable(later)[0], later)
    assert pool.mint_at(later) > later.boot_s + 600.0, "a replacement is on trial"
    pool.refused(fresh, later)
    assert pool.mint_at(later) > later.boot_s + 600.0, "a fresh one that is refused is not replaced"


def test_where_a_new_token_revokes_the_older_ones_the_pool_is_one_for_an_hour():
    pool, now = grown(3, age_s=30.0)
    oldest, _, youngest = pool.usable(now)
    pool.refused(oldest, now)
    assert pool.usable(now) == [youngest]
    assert pool.shortage(now) == "revoked"
    for _ in range(3):
        pool.press(now, waits=True)
    later = after(now.boot_s - START.boot_s + 1800.0)
    for token in pool.usable(later):
        token.pace.restore([later.boot_s] * 60)
    pool.press(later, waits=True)
    assert pool.mint_at(later) > later.boot_s + GROW_AFTER_S
    assert pool.shortage(after(now.boot_s - START.boot_s + ALONE_S)) is None


def test_a_token_that_is_refused_long_after_a_mint_says_nothing_of_the_others():
    pool, now = grown(3)
    pool.refused(pool.usable(now)[0], now)
    assert len(pool.usable(now)) == 2
    assert pool.shortage(now) is None


def test_others_go_on_while_one_is_replaced():
    driven = Driven(minted_lane(records_max=1, statuses="none"))
    driven.lane.tokens.start_mint(driven.now)
    driven.lane.tokens.minted("second", driven.now)
    driven.now = after(120.0)
    driven.offer([row(number, ends_at=START.wall_ms + HOURS_MS) for number in range(10)])
    for _ in range(4):
        for post in driven.step(1.0):
            assert isinstance(post, Post)
            driven.answer(post, Accepted(post.batch_ref), 0.01)
    refused, other = [asked for _ in range(2) for asked in driven.step(1.0)][:2]
    assert isinstance(refused, Post)
    assert isinstance(other, Post)
    driven.answer(refused, Reauthenticate("http_401"), 0.01)
    asked = driven.step(1.0)
    assert Mint() in asked
    (again,) = [one for one in asked if isinstance(one, Post)]
    assert again.batch_ref == refused.batch_ref
    assert again.token is not refused.token


# --- Hand-overs and what is said --------------------------------------------------------------------------------------


@pytest.mark.faults("F41")
def test_ten_tokens_travel_with_their_use_in_twenty_kilobytes():
    pool, now = grown(10, age_s=1.0)
    for token in pool.usable(now):
        for _ in range(60):
            pool.take(token, now) if token.pace.ready_at(now.boot_s) <= now.boot_s else token.pace.take(now.boot_s)
            token.pace.ended(now.boot_s)
    value = encode_entry(pool.entry(now, released=True))
    assert len(value) < 20_480
    entry = decode_entry(JournalKey("tokens", "a"), value)
    assert isinstance(entry, TokensEntry)
    successor = pool_of()
    successor.restore(entry, now)
    assert [token.pace.used(now.boot_s) for token in successor.usable(now)] == [60] * 10
    assert successor.pace.free(now.boot_s) == 0, "what all of them have sent counts for the account"
    assert successor.best(now) is None


def test_a_token_and_its_successor_share_what_one_is_allowed():
    pool, now = grown(1)
    (old,) = pool.usable(now)
    one = pool_of(tokens_max=1)
    one.restore(pool.entry(now, released=True), now)
    one.start_mint(now)
    one.minted("fresh", now)
    sent = 0
    for second in range(60):
        at = after(now.boot_s - START.boot_s + second)
        while token := one.best(at):
            one.take(token, at)
            one.ended(token.ordinal, at)
            sent += 1
    assert sent == 60
    assert old.minted_s + TOKEN_USE_S > now.boot_s


def test_a_lane_goes_on_with_what_it_has_and_says_why():
    pool, now = grown(2)
    assert pool.shortage(now) is None
    pool.start_mint(now)
    pool.mint_failed(now, random.Random(1), None)
    assert pool.shortage(now) == "refused"
    assert len(pool.usable(now)) == 2


def test_a_quota_that_is_used_up_is_said_where_more_tokens_are_needed():
    pool, now = grown(2)
    for _ in range(8):
        pool.start_mint(now)
        pool.refused(pool.minted("lost", now), now)
    assert pool.shortage(now) is None
    pool.minting.demand.assume(300.0, now.boot_s)
    assert pool.shortage(now) == "quota"


def test_an_answer_to_a_mint_that_comes_to_the_lane_ends_the_attempt():
    driven = Driven(minted_lane())
    driven.lane.tokens.start_mint(driven.now)
    driven.wrote(answers.minted(driven.lane, Minted("second"), 0, driven.now))
    assert [token.secret for token in driven.lane.tokens.usable(driven.now)] == ["token", "second"]
