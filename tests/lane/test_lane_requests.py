"""What a lane asks for, and when: linger, fullness, expiry, bounds."""

import pytest

from streams.contracts.journal import CursorEntry, Place
from streams.contracts.outcome import Status
from streams.lane.actions import Mint, Post, Write
from streams.lane.verdict import Accepted
from tests.lane.making import (
    ACCOUNT,
    MINUTE_MS,
    START,
    Driven,
    after,
    drop_token,
    entry,
    minted_lane,
    new_lane,
    row,
    said,
)


def waits_s(driven):
    return driven.lane.wake_at(driven.now) - driven.now.boot_s


def test_a_lane_without_intents_wants_nothing():
    driven = Driven(new_lane())
    assert driven.step() == []
    assert waits_s(driven) == float("inf")
    assert driven.lane.idle


def test_the_first_intent_asks_for_a_token_and_journals_that_first():
    driven = Driven(new_lane())
    driven.offer([row(0)])
    (write,) = driven.lane.step(START)
    assert isinstance(write, Write)
    assert [key for key, _ in write.entries] == [f"tokens/{ACCOUNT}"]
    assert driven.lane.step(START) == []
    driven.lane.durable(write.serial)
    assert driven.lane.step(START) == [Mint()]


def test_a_small_batch_leaves_after_the_linger_of_its_first_intent():
    driven = Driven(minted_lane(linger_ms=250))
    driven.offer([row(0)])
    assert driven.step(0.2) == []
    driven.offer([row(1)], offset=1)
    assert waits_s(driven) == pytest.approx(0.05)
    post = driven.post(0.05)
    assert len(post.held) == 2


def test_the_linger_counts_anew_for_the_next_batch():
    driven = Driven(minted_lane(statuses="none"))
    driven.offer([row(0)])
    driven.answer(driven.post(1.0), Accepted("b"))
    driven.now = after(60.0)
    driven.offer([row(1)], offset=1)
    assert driven.step(0.2) == []
    assert isinstance(driven.post(0.1), Post)


def test_a_full_batch_leaves_at_once():
    driven = Driven(minted_lane(records_max=3))
    driven.offer([row(number) for number in range(4)])
    assert len(driven.post().held) == 3


def test_a_batch_and_its_cursor_are_journaled_before_its_post():
    driven = Driven(minted_lane())
    driven.offer([row(0), row(1)], offset=5)
    (write,) = driven.lane.step(after(1.0))
    assert isinstance(write, Write)
    assert [key for key, _ in write.entries] == ["intents/ref-1", f"cursor/{ACCOUNT}", "batch/ref-1"]
    assert entry(write, f"cursor/{ACCOUNT}") == CursorEntry(Place(5, 2))
    assert write.taken == [Place(5, 0), Place(5, 1)]
    assert driven.lane.step(after(2.0)) == []
    driven.lane.durable(write.serial)
    (post,) = driven.lane.step(after(2.0))
    assert isinstance(post, Post)


def test_the_most_urgent_leave_first():
    driven = Driven(minted_lane(records_max=2))
    starts_at = START.wall_ms + 10 * MINUTE_MS
    driven.offer(
        [
            row(0, starts_at=starts_at, priority="low"),
            row(1, starts_at=starts_at, priority="normal"),
            row(2, starts_at=starts_at, priority="high"),
            row(3, starts_at=starts_at - MINUTE_MS, priority="normal"),
        ]
    )
    assert [one.row.source_offset for one in driven.post().held] == [3, 2]


@pytest.mark.faults("F53")
def test_no_more_posts_are_in_flight_than_allowed():
    driven = Driven(minted_lane(records_max=1, tokens_max=1, in_flight_max_per_token=2))
    driven.offer([row(number) for number in range(4)])
    posts = [driven.post(1.0), driven.post(1.0)]
    assert driven.step(5.0) == []
    assert waits_s(driven) > 60.0, "only an answer can help"
    driven.answer(posts[0], Accepted("b"))
    assert isinstance(driven.post(1.0), Post)


@pytest.mark.faults("F39")
def test_intents_expire_as_soon_as_they_can_no_longer_be_sent():
    driven = Driven(new_lane())
    driven.offer([row(0, ends_at=START.wall_ms + 90_000), row(1)], offset=3)
    driven.step()
    assert waits_s(driven) == pytest.approx(60.0)
    driven.step(60.0)
    (write,) = [write for write in driven.writes if write.outcomes]
    assert said(write) == [(Status.EXPIRED, 1, 0, "expired", False)]
    assert write.taken == [Place(3, 0)]
    assert entry(write, f"cursor/{ACCOUNT}") == CursorEntry(Place(3, 1))


@pytest.mark.faults("F39")
def test_an_intent_that_cannot_be_answered_in_time_is_not_sent():
    driven = Driven(minted_lane(expiry_margin_ms=30_000))
    driven.offer([row(0, ends_at=START.wall_ms + 30_900), row(1)])
    driven.lane.step(after(0.1))
    post = driven.post(0.95)
    assert [one.row.source_offset for one in post.held] == [1]


def test_what_expired_while_its_attempt_was_journaled_does_not_spoil_the_batch():
    driven = Driven(minted_lane(expiry_margin_ms=30_000))
    driven.offer([row(0, starts_at=START.wall_ms, ends_at=START.wall_ms + 2 * MINUTE_MS), row(1), row(2)])
    (write,) = driven.lane.step(after(1.0))
    assert isinstance(write, Write)
    driven.now = after(121.0)  # Kafka was away: the API refuses a batch for one call that is over
    driven.lane.durable(write.serial)
    assert [one.row.source_offset for one in driven.post().held] == [1, 2]
    (expired,) = [group for write in driven.writes for group in write.outcomes]
    assert (expired.status, [one.row.source_offset for one in expired.held]) == (Status.EXPIRED, [0])


def test_one_that_expired_in_the_window_does_not_hold_back_the_next_of_its_pair():
    driven = Driven(minted_lane(expiry_margin_ms=30_000))
    driven.offer([row(0, receiver="r", ends_at=START.wall_ms + 30_900), row(1, receiver="r")])
    driven.lane.step(after(0.1))
    assert [one.row.source_offset for one in driven.post(0.95).held] == [1]


def test_an_account_without_credentials_asks_for_nothing_and_what_it_has_ends():
    driven = Driven(new_lane(blocked=True))
    driven.offer([row(0), row(1, ends_at=START.wall_ms + 2 * MINUTE_MS)])
    assert driven.lane.wake_at(START) < float("inf")
    driven.step()
    assert driven.step(2 * 60.0) == []
    assert [said(write)[0][0] for write in driven.writes] == [Status.EXPIRED]
    assert driven.lane.wake_at(driven.now) > driven.now.boot_s


@pytest.mark.faults("F49")
def test_a_token_that_is_gone_when_its_post_may_leave_is_replaced():
    driven = Driven(minted_lane())
    driven.offer([row(0)])
    (write,) = driven.lane.step(after(1.0))
    assert isinstance(write, Write)
    drop_token(driven)
    driven.lane.durable(write.serial)
    driven.now = after(1.0)
    (mint,) = driven.step()
    assert isinstance(mint, Mint)
    assert not driven.lane.batches["ref-1"].entry.possible_duplicate
    driven.lane.tokens.minted("fresh", driven.now)
    assert driven.post(0.1).token.secret == "fresh"


def test_a_ragged_cursor_is_mended_by_the_oldest_intents():
    driven = Driven(minted_lane(records_max=500, tokens_max=1, in_flight_max_per_token=1, statuses="none"))
    rows = [row(n, starts_at=START.wall_ms + (MINUTE_MS if n % 2 else 60 * MINUTE_MS)) for n in range(6000)]
    for offset in range(6):
        driven.offer(rows[offset * 1000 : (offset + 1) * 1000], offset=offset)
    sizes = []
    for _ in range(12):
        post = driven.post(5.0)
        assert len(post.held) == 500
        sizes.append(driven.lane.cursor.runs())
        driven.answer(post, Accepted("b"))
    assert max(sizes) <= 2500, "every other intent is taken until that is too much"
    assert sizes[-1] == 0
    assert driven.lane.idle


def pause(driven):
    driven.told("pause")


def ask_for_a_pause(driven):
    driven.lane.hold_until_s = driven.now.boot_s + 1


def drop_the_token(driven):
    drop_token(driven)


def become_doubtful(driven):
    other = driven.requests[0]
    assert isinstance(other, Post)
    driven.lane.one_at_a_time = True


def let_the_call_end(driven):
    driven.now = after(3600 + 600)


@pytest.mark.parametrize("happen", [pause, ask_for_a_pause, drop_the_token, become_doubtful, let_the_call_end])
def test_what_happens_before_a_post_leaves_may_keep_it(happen):
    driven = Driven(minted_lane(records_max=1))
    driven.offer([row(1), row(2)])
    driven.step()
    post = driven.post(1.0)
    batch = driven.lane.batches[post.batch_ref]
    assert driven.lane.may_leave(batch, driven.now)
    happen(driven)
    assert not driven.lane.may_leave(batch, driven.now)
