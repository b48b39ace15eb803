"""From the journal back to a lane: what a new owner does with what it finds."""

import pytest

from streams.contracts.errors import UnreadableMessage
from streams.contracts.journal import (
    BatchEntry,
    BatchState,
    CursorEntry,
    HeadEntry,
    Packer,
    Place,
    StartedEntry,
    TokensEntry,
    encode_entry,
)
from streams.contracts.outcome import Status
from streams.lane.actions import Check, Mint, Post, Write
from streams.lane.recovery import CHECKS_SPREAD_S, FOREIGN_POST_S, JournalFold, hand_over, restore
from streams.lane.verdict import Accepted, Ambiguous, RetryLater
from tests.lane.making import (
    ACCOUNT,
    START,
    Driven,
    after,
    batch_entry,
    entry,
    held,
    minted_lane,
    new_lane,
    parcel,
    row,
    said,
)

BATCH = BatchEntry(ACCOUNT, BatchState.OPEN, 1, "retry")


def fold(*messages):
    folded = JournalFold()
    for key, value in messages:
        folded.apply(key.encode(), value)
    return folded


def with_batch(entry=BATCH):
    return ("intents/ref-1", Packer().pack([held(0)])), ("batch/ref-1", encode_entry(entry))


def posted(driven):
    driven.offer([row(0), row(1)])
    return driven.post(1.0)


def test_the_last_value_of_a_key_is_the_truth():
    early, late = CursorEntry(Place(1, 0)), CursorEntry(Place(2, 0))
    cursor = f"cursor/{ACCOUNT}"
    ((account_id, state),) = fold((cursor, encode_entry(early)), (cursor, encode_entry(late))).accounts()
    assert account_id == ACCOUNT
    assert state.cursor == late


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([(f"cursor/{ACCOUNT}", encode_entry(CursorEntry(Place(1, 0))))], id="cursor"),
        pytest.param([(f"tokens/{ACCOUNT}", encode_entry(TokensEntry()))], id="tokens"),
        pytest.param(with_batch(), id="batch"),
    ],
)
def test_a_tombstone_forgets(messages):
    forgotten = [(key, None) for key, _ in messages]
    assert list(fold(*messages).accounts())
    assert not list(fold(*messages, *forgotten).accounts())


def test_a_tombstone_of_what_was_compacted_away_is_nothing():
    assert not list(fold(("batch/ref-1", None), ("carry/account/1", None)).accounts())


def test_head_and_started_are_kept():
    folded = fold(("head", encode_entry(HeadEntry("t", 7))), ("started", encode_entry(StartedEntry("t", 12))))
    assert (folded.head, folded.started) == (HeadEntry("t", 7), StartedEntry("t", 12))


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([("parked/ref-1", b"{}")], id="unknown kind"),
        pytest.param([("batch/ref-1", encode_entry(BATCH).replace(b'"version":1', b'"version":2'))], id="version"),
    ],
)
@pytest.mark.faults("F85")
def test_what_is_not_understood_is_refused(messages):
    with pytest.raises(UnreadableMessage):
        fold(*messages)


def test_a_batch_without_its_intents_is_refused():
    with pytest.raises(UnreadableMessage, match="ref-1 has no intents"):
        list(fold(with_batch()[1]).accounts())


def test_a_carry_without_a_number_is_refused():
    with pytest.raises(UnreadableMessage, match="without a number"):
        list(fold((f"carry/{ACCOUNT}", b"x")).accounts())


def test_a_batch_of_a_newer_release_is_refused():
    folded = fold(*with_batch(BatchEntry(ACCOUNT, BatchState.SPLIT, 1, "retry", split_into=("a", "b"))))
    ((_, state),) = folded.accounts()
    with pytest.raises(UnreadableMessage, match="split by a newer release"):
        restore(new_lane(), state, START)


@pytest.mark.faults("F69", "F84")
def test_an_open_attempt_is_flagged_and_sent_again_when_it_can_no_longer_be_running():
    driven = Driven(minted_lane())
    posted(driven)
    successor = driven.taken_over(after(5.0))

    found = batch_entry(successor.writes[0])
    assert found is not None
    assert (found.state, found.possible_duplicate, found.resends) == (BatchState.AMBIGUOUS, True, 1)
    (mint,) = successor.step()
    assert isinstance(mint, Mint)
    assert successor.step(FOREIGN_POST_S - 0.1) == []
    successor.lane.tokens.minted("fresh", successor.now)
    (post,) = successor.step(0.1)
    assert isinstance(post, Post)
    assert [one.row.source_offset for one in post.held] == [0, 1]
    assert said(successor.answer(post, Accepted("b"))) == [(Status.ACCEPTED, 2, 0, None, True)]


@pytest.mark.faults("F69")
def test_an_open_attempt_that_may_not_be_sent_again_ends_as_unknown():
    driven = Driven(minted_lane())
    posted(driven)
    successor = driven.taken_over(after(5.0), new_lane(ambiguous_resends_max=0))
    assert said(successor.writes[0]) == [(Status.UNKNOWN, 2, 0, "ambiguous", True)]
    assert successor.lane.idle


def test_crash_after_crash_is_counted_as_attempt_after_attempt():
    driven = Driven(minted_lane(ambiguous_resends_max=1))
    posted(driven)
    second = driven.taken_over(after(5.0), minted_lane(ambiguous_resends_max=1))
    second.writes[:0] = driven.writes
    second.step(FOREIGN_POST_S + 60.0)
    assert len(second.requests) == 1
    third = second.taken_over(after(200.0), new_lane(ambiguous_resends_max=1))
    assert said(third.writes[0]) == [(Status.UNKNOWN, 2, 0, "ambiguous", True)]


@pytest.mark.parametrize(
    "verdict", [RetryLater("http_503", left=True), Ambiguous("timeout")], ids=["unsent", "ambiguous"]
)
def test_a_batch_between_attempts_is_sent_again(verdict):
    driven = Driven(minted_lane())
    driven.answer(posted(driven), verdict)
    successor = driven.taken_over(after(5.0), minted_lane())
    waits_s = FOREIGN_POST_S if isinstance(verdict, Ambiguous) else 0.0
    if waits_s:
        assert successor.step(waits_s - 0.1) == []
    assert isinstance(successor.post(0.1), Post)
    assert successor.lane.one_at_a_time == isinstance(verdict, Ambiguous)


@pytest.mark.faults("F81")
def test_accepted_batches_are_checked_spread_over_some_seconds():
    driven = Driven(minted_lane())
    driven.answer(posted(driven), Accepted("batch-1"))
    successor = driven.taken_over(after(5.0), minted_lane())
    assert successor.lane.batches["ref-1"].held is None, "kept packed"
    (check,) = successor.step(CHECKS_SPREAD_S)
    assert isinstance(check, Check)
    assert check.batch_id == "batch-1"


@pytest.mark.faults("F35")
def test_intents_that_are_read_again_are_dropped_and_their_pairs_still_travel():
    driven = Driven(minted_lane(records_max=1))
    rows = [row(0, receiver="r"), row(1, receiver="r"), row(2)]
    driven.offer(rows, offset=7)
    driven.answer(driven.post(1.0), RetryLater("connect", retry_after_s=30.0))
    successor = driven.taken_over(after(5.0), minted_lane())

    assert successor.offer(rows, offset=7) == 2
    posts = [successor.post(1.0), successor.post(2.0)]
    assert [[one.row.source_offset for one in post.held] for post in posts] == [[0], [2]]


def test_a_hand_over_marks_what_was_not_sent_and_releases_the_tokens():
    driven = Driven(minted_lane())
    driven.offer([row(0)])
    (write,) = driven.lane.step(after(1.0))
    assert isinstance(write, Write)
    driven.writes.append(write)  # journaled, and never sent
    over = driven.wrote(hand_over(driven.lane, after(2.0)))
    found = batch_entry(over)
    assert found is not None
    assert found.state is BatchState.UNSENT
    left = entry(over, f"tokens/{ACCOUNT}")
    assert isinstance(left, TokensEntry)
    assert left.released

    successor = driven.taken_over(after(3.0))
    (post,) = successor.step()
    assert isinstance(post, Post)
    assert post.token.secret == "token"
    assert said(successor.answer(post, Accepted("b"))) == [(Status.ACCEPTED, 1, 0, None, False)]


def test_released_tokens_are_ours_before_they_are_used():
    driven = Driven(minted_lane())
    driven.wrote(hand_over(driven.lane, after(2.0)))
    folded = fold(*((key, value) for key, value in driven.journal.items()))
    ((_, state),) = folded.accounts()
    lane = new_lane()
    write = restore(lane, state, after(3.0))
    left = entry(write, f"tokens/{ACCOUNT}")
    assert isinstance(left, TokensEntry)
    assert not left.released

    lane.offer(0, parcel([row(0)]), after(3.0))
    assert lane.step(after(4.0)) == []
    assert lane.wake_at(after(4.0)) > after(4.0).boot_s
    assert not lane.idle
    lane.durable(write.serial)
    assert lane.step(after(4.0))


def test_nothing_left_is_nothing_to_write():
    driven = Driven(new_lane())
    successor = driven.taken_over(after(1.0))
    assert successor.writes[0].entries == []
    assert successor.lane.idle
