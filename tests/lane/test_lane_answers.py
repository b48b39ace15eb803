"""Every verdict on every kind of batch: what is said, what is journaled, what comes next."""

from typing import Any

import pytest

from streams.contracts.journal import BatchEntry, BatchState, TokensEntry
from streams.contracts.outcome import Status
from streams.lane import answers
from streams.lane.actions import Check, Mint, Post
from streams.lane.batch import Phase
from streams.lane.checking import DEADLINE_GRACE_S, FIRST_CHECK_S
from streams.lane.verdict import (
    Accepted,
    Ambiguous,
    Minted,
    NotVisible,
    PostVerdict,
    Reauthenticate,
    RecordState,
    Refuse,
    RetryLater,
    Split,
    Statuses,
)
from tests.lane.making import (
    ACCOUNT,
    MINUTE_MS,
    START,
    Driven,
    after,
    batch_entry,
    drop_token,
    entry,
    minted_lane,
    new_lane,
    record,
    row,
    said,
)

ACCEPTED, EXPIRED, UNKNOWN = Status.ACCEPTED, Status.EXPIRED, Status.UNKNOWN
DELIVERED, FAILED = Status.DELIVERED, Status.FAILED

# Ends before the second attempt can be answered.
SHORT: dict[str, Any] = {"starts_at": START.wall_ms, "ends_at": START.wall_ms + MINUTE_MS}


def fresh(driven):
    """Two intents, their first POST on its way."""
    driven.offer([row(0), row(1)])
    return driven.post(1.0)


def doubtful(driven):
    """The same two, after an attempt that may have been applied."""
    driven.answer(fresh(driven), Ambiguous("timeout"))
    return driven.post(60.0)


def shrunk(driven):
    """Two of three: the first expired while the API was throttling."""
    driven.offer([row(2, **SHORT), row(0), row(1)])
    driven.answer(driven.post(1.0), RetryLater("429", throttled=True, retry_after_s=45.0))
    return driven.post(50.0)


def doubtful_and_shrunk(driven):
    """Two of three: the first can no longer be sent again, and may have been applied."""
    driven.offer([row(2, **SHORT), row(0), row(1)])
    driven.answer(driven.post(1.0), Ambiguous("timeout", retry_after_s=45.0))
    return driven.post(50.0)


HISTORIES = {"fresh": fresh, "doubtful": doubtful, "shrunk": shrunk, "doubtful and shrunk": doubtful_and_shrunk}
DOUBTFUL = {"doubtful", "doubtful and shrunk"}

Said = tuple[Status, int, int, str | None, bool]

# verdict → outcomes without doubt, outcomes in doubt, state in the journal (None: forgotten), next phase
TABLE: dict[str, tuple[PostVerdict, list[Said], list[Said], BatchState | None, Phase | None]] = {
    "accepted": (
        Accepted("batch-1"),
        [(ACCEPTED, 2, 0, None, False)],
        [(ACCEPTED, 2, 0, None, True)],
        BatchState.ACCEPTED,
        Phase.CHECK_DUE,
    ),
    "untracked": (
        Accepted(None),
        [(ACCEPTED, 2, 0, None, False), (UNKNOWN, 2, 1, "untracked", False)],
        [(ACCEPTED, 2, 0, None, True), (UNKNOWN, 2, 1, "untracked", True)],
        None,
        None,
    ),
    "retry later": (RetryLater("connect"), [], [], BatchState.UNSENT, Phase.RETRY),
    "throttled": (RetryLater("429", throttled=True), [], [], BatchState.UNSENT, Phase.RETRY),
    "reauthenticate": (Reauthenticate("401"), [], [], BatchState.UNSENT, Phase.RETRY),
    "refuse": (Refuse("403"), [], [], BatchState.UNSENT, Phase.RETRY),
    "split": (Split("400", "receiver", "is invalid"), [], [], None, None),
    "ambiguous": (Ambiguous("timeout"), [], [], BatchState.AMBIGUOUS, Phase.RETRY),
}


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("answer", TABLE)
@pytest.mark.faults("F62")
def test_an_answer_to_a_post(answer, history):
    verdict, certain, in_doubt, state, phase = TABLE[answer]
    driven = Driven(minted_lane())
    post = HISTORIES[history](driven)
    assert sorted(one.row.source_offset for one in post.held) == [0, 1]

    write = driven.answer(post, verdict)

    assert said(write) == (in_doubt if history in DOUBTFUL else certain)
    assert [request.verdict for request in write.requests] == [write.requests[0].verdict]
    assert (write.requests[0].request, write.requests[0].records) == ("post", 2)
    if state is None:
        assert (f"batch/{post.batch_ref}", None) in write.entries
        assert (f"intents/{post.batch_ref}", None) in write.entries
        assert post.batch_ref not in driven.lane.batches
    else:
        found = batch_entry(write)
        assert isinstance(found, BatchEntry)
        assert found.state is state
        assert found.possible_duplicate == (history in DOUBTFUL or state is BatchState.AMBIGUOUS)
        assert driven.lane.batches[post.batch_ref].phase is phase


@pytest.mark.parametrize(("history", "expected"), [("shrunk", EXPIRED), ("doubtful and shrunk", UNKNOWN)])
@pytest.mark.faults("F39")
def test_an_intent_that_expires_between_attempts(history, expected):
    driven = Driven(minted_lane())
    HISTORIES[history](driven)
    (gone,) = [outcomes for write in driven.writes for outcomes in write.outcomes]
    assert gone.status is expected
    assert [one.row.source_offset for one in gone.held] == [2]
    (attempt,) = [a for a in driven.lane.batches["ref-1"].entry.attempts if a.number == 2]
    assert len(attempt.left_out) == 1


def test_a_batch_whose_last_intent_expires_is_forgotten():
    driven = Driven(minted_lane())
    driven.offer([row(0, **SHORT)])
    driven.answer(driven.post(1.0), RetryLater("connect", retry_after_s=45.0))
    assert driven.step(60.0) == []
    assert said(driven.writes[-1]) == [(EXPIRED, 1, 0, "expired", False)]
    assert batch_entry(driven.writes[-1]) is None
    assert driven.lane.idle


@pytest.mark.parametrize("resends_max", [0, 1, 2])
@pytest.mark.faults("F53", "F62")
def test_what_stays_in_doubt_ends_as_unknown(resends_max):
    driven = Driven(minted_lane(ambiguous_resends_max=resends_max))
    post = fresh(driven)
    for _ in range(resends_max):
        assert said(driven.answer(post, Ambiguous("timeout"))) == []
        post = driven.post(60.0)
    assert said(driven.answer(post, Ambiguous("timeout"))) == [(UNKNOWN, 2, 0, "ambiguous", True)]
    assert driven.lane.idle


@pytest.mark.faults("F53")
def test_a_doubt_lets_one_post_run_until_one_is_accepted():
    driven = Driven(minted_lane(records_max=1, tokens_max=1, in_flight_max_per_token=2))
    driven.offer([row(number) for number in range(4)])
    posts = [driven.post(1.0), driven.post(1.0)]
    driven.answer(posts[0], Ambiguous("timeout"))
    assert driven.step(90.0) == [], "the other one still runs"
    driven.answer(posts[1], RetryLater("connect"))
    driven.answer(driven.post(90.0), Accepted("batch-1"))
    assert len(driven.step(1.0) + driven.step(1.0)) == 2


def test_nothing_leaves_while_the_account_pauses():
    driven = Driven(minted_lane(records_max=1))
    driven.offer([row(0), row(1), row(2)])
    first = driven.post(1.0)
    journaled = driven.lane.step(after(1.0, driven.now))
    driven.answer(first, Refuse("403"), 1.0)
    for write in journaled:
        driven._perform(write)

    assert driven.step(1.0) == [], "it was journaled before the pause began"
    assert driven.lane.batches["ref-2"].entry.state is BatchState.UNSENT
    assert driven.lane.wake_at(driven.now) >= driven.lane.hold_until_s
    assert len(driven.step(300.0)) == 1


def test_nothing_leaves_on_a_token_that_pauses():
    driven = Driven(minted_lane(records_max=1))
    driven.offer([row(0), row(1)])
    first = driven.post(1.0)
    journaled = driven.lane.step(after(1.0, driven.now))
    driven.answer(first, RetryLater("429", throttled=True, retry_after_s=50.0), 1.0)
    for write in journaled:
        driven._perform(write)
    assert driven.step(1.0) == []
    assert driven.step(40.0) == []
    assert len(driven.step(15.0)) == 1


@pytest.mark.parametrize("kind", ["post", "check"])
@pytest.mark.faults("F48", "F49")
def test_a_token_that_is_not_taken_is_replaced_and_forgotten(kind):
    driven = Driven(minted_lane())
    post = fresh(driven)
    if kind == "post":
        write = driven.answer(post, Reauthenticate("401"))
    else:
        driven.answer(post, Accepted("batch-1"))
        check = driven.check(10.0)
        write = driven.wrote(answers.checked(driven.lane, check.batch_ref, Reauthenticate("401"), 0, driven.now))
    left = entry(write, f"tokens/{ACCOUNT}")
    assert isinstance(left, TokensEntry)
    assert left.tokens == ()
    (mint,) = driven.step(5.0)
    assert isinstance(mint, Mint)
    driven.wrote(answers.minted(driven.lane, Minted("fresh"), driven.now.wall_ms, driven.now))
    (again,) = driven.step(70.0)
    assert isinstance(again, Post if kind == "post" else Check)
    assert again.token.secret == "fresh"


# -- statuses


def accepted(driven, rows, batch_id="batch-1"):
    driven.offer(rows)
    return driven.answer(driven.post(1.0), Accepted(batch_id))


def told(driven, check, *verdicts, every_s=200.0):
    """Answer this check and the following ones; the last write."""
    for number, verdict in enumerate(verdicts):
        current = check if number == 0 else driven.check(every_s)
        write = driven.wrote(answers.checked(driven.lane, current.batch_ref, verdict, 0, driven.now))
    return write


def test_statuses_end_a_batch():
    driven = Driven(minted_lane())
    rows = [row(0), row(1), row(2)]
    accepted(driven, rows)
    states = [RecordState.DELIVERED, RecordState.FAILED, RecordState.DELIVERED]
    records = tuple(record(one, state) for one, state in zip(rows, states, strict=True))

    write = told(driven, driven.check(10.0), Statuses(records))

    assert sorted(said(write)) == [(DELIVERED, 2, 1, None, False), (FAILED, 1, 1, "api_status", False)]
    assert [list(o.record_ids or ()) for o in write.outcomes] == [["record-0", "record-2"], ["record-1"]]
    (event,) = write.events
    assert (event.event, event.counts) == ("completed", {DELIVERED: 2, FAILED: 1})
    assert batch_entry(write) is None
    assert driven.lane.idle
    assert 0 < FIRST_CHECK_S - driven.lane.checks.times.usual_s < 0.1, "the next one is checked a little earlier"


@pytest.mark.parametrize(
    "verdict",
    [
        Statuses(()),
        NotVisible("404"),
        RetryLater("429", throttled=True),
        RetryLater("connect"),
        Refuse("403"),
        Ambiguous("500"),
    ],
    ids=["pending", "not visible", "throttled", "unreachable", "refused", "no answer"],
)
@pytest.mark.faults("F78")
def test_an_answer_without_statuses_is_asked_for_again(verdict):
    driven = Driven(minted_lane())
    accepted(driven, [row(0)])
    write = told(driven, driven.check(10.0), verdict)
    assert said(write) == []
    assert not any(key.startswith("batch/") for key, _ in write.entries)
    assert len(driven.step(400.0)) == 1


@pytest.mark.faults("F79")
def test_a_pending_record_ends_as_unknown_at_the_deadline_and_the_others_with_their_state():
    driven = Driven(minted_lane(status_deadline_s=100.0))
    rows = [row(0), row(1)]
    accepted(driven, rows)
    records = Statuses((record(rows[0]), record(rows[1], RecordState.PENDING)))
    check = driven.check(10.0)
    write = told(driven, check, records)
    assert said(write) == []
    wake_at_s = driven.lane.wake_at(driven.now)
    while wake_at_s < START.boot_s + 102.0:
        check = driven.check(max(0.0, wake_at_s - driven.now.boot_s))
        write = told(driven, check, records)
        wake_at_s = driven.lane.wake_at(driven.now)
        if write.outcomes:
            break
    assert sorted(said(write)) == [(DELIVERED, 1, 1, None, False), (UNKNOWN, 1, 1, "status_timeout", False)]
    assert driven.now.boot_s - START.boot_s == pytest.approx(101.1, abs=1.5), "one check falls on the deadline itself"


@pytest.mark.faults("F78", "F79")
def test_answers_that_tell_nothing_end_as_unknown_some_time_after_the_deadline():
    driven = Driven(minted_lane(status_deadline_s=100.0))
    accepted(driven, [row(0)])
    write = told(driven, driven.check(10.0), *[NotVisible("404")] * 4, every_s=70.0)
    assert said(write) == [(UNKNOWN, 1, 1, "status_timeout", False)]


def test_without_a_request_to_spare_a_batch_ends_as_not_checked_after_its_deadline():
    driven = Driven(minted_lane(status_deadline_s=600.0))
    accepted(driven, [row(0)])
    drop_token(driven)
    (mint,) = driven.step(1.0)
    assert isinstance(mint, Mint)
    ends_s = 601.1 + DEADLINE_GRACE_S

    assert driven.lane.wake_at(driven.now) < driven.now.boot_s + ends_s
    driven.step(ends_s - 10.0)
    assert driven.lane.batches
    driven.step(20.0)
    assert said(driven.writes[-1]) == [(UNKNOWN, 1, 1, "not_checked", False)]
    assert not driven.lane.batches
    assert driven.lane.wake_at(driven.now) == float("inf")


def test_statuses_none_ends_a_batch_with_its_acceptance():
    driven = Driven(minted_lane(statuses="none"))
    write = accepted(driven, [row(0), row(1)])
    assert said(write) == [(ACCEPTED, 2, 0, None, False), (UNKNOWN, 2, 1, "not_checked", False)]
    assert [event.event for event in write.events] == ["accepted", "completed"]
    assert driven.lane.idle


def test_best_effort_checks_what_it_can():
    driven = Driven(minted_lane(statuses="best_effort"))
    accepted(driven, [row(0)])
    write = told(driven, driven.check(10.0), Statuses((record(row(0)),)))
    assert said(write) == [(DELIVERED, 1, 1, None, False)]


@pytest.mark.faults("F82")
def test_best_effort_lets_an_overdue_check_give_way_to_a_batch():
    driven = Driven(minted_lane(statuses="best_effort", open_batches_max=1))
    accepted(driven, [row(0)])
    driven.offer([row(1)], offset=1)
    assert driven.step(1.0) == [], "the check is not due yet"
    wake_at_s = driven.lane.wake_at(driven.now)
    assert wake_at_s < driven.now.boot_s + 10.0

    (post,) = driven.step(wake_at_s - driven.now.boot_s)

    assert isinstance(post, Post)
    assert [found for write in driven.writes for found in said(write)][-1] == (UNKNOWN, 1, 1, "not_checked", False)
    assert "ref-1" not in driven.lane.batches


@pytest.mark.faults("F79", "F82")
def test_all_statuses_are_checked_before_another_batch_where_the_bound_is_reached():
    driven = Driven(minted_lane(statuses="all", open_batches_max=1))
    accepted(driven, [row(0)])
    driven.offer([row(1)], offset=1)
    check = driven.check(60.0)
    told(driven, check, Statuses((record(row(0)),)))
    assert isinstance(driven.post(1.0), Post)


def test_a_later_intent_of_a_pair_waits_for_the_acceptance_only():
    driven = Driven(minted_lane())
    driven.offer([row(0, receiver="r"), row(1, receiver="r")])
    post = driven.post(1.0)
    assert [one.row.source_offset for one in post.held] == [0]
    assert driven.step(5.0) == []
    driven.answer(post, Accepted("batch-1"))
    assert [one.row.source_offset for one in driven.post(1.0).held] == [1]


def test_the_journal_entry_of_a_throttled_batch_does_not_grow():
    driven = Driven(minted_lane())
    post = fresh(driven)
    for _ in range(30):
        driven.answer(post, RetryLater("429", throttled=True, retry_after_s=1.0))
        post = driven.post(60.0)
    attempts = driven.lane.batches[post.batch_ref].entry.attempts
    assert [attempt.number for attempt in attempts] == list(range(22, 32))


def test_a_mint_that_fails_is_counted_and_put_on_record():
    lane = new_lane()
    lane.tokens.start_mint(START)
    write = answers.minted(lane, Refuse("403"), START.wall_ms, after(2.0))
    left = entry(write, f"tokens/{ACCOUNT}")
    assert isinstance(left, TokensEntry)
    assert left.mints == (after(2.0).wall_ms,)
    assert [(r.request, r.verdict, r.token) for r in write.requests] == [("mint", "refuse", None)]
