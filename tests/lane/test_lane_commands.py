"""Operators' commands: what each does to a lane, once, however often it is read."""

from typing import Any

import pytest

from streams.contracts.command import Command, Result, answered
from streams.contracts.journal import AccountEntry, BatchState
from streams.contracts.outcome import Status
from streams.lane import answers
from streams.lane.actions import Check, Post, Write
from streams.lane.batch import Phase
from streams.lane.verdict import Accepted, Ambiguous, RetryLater, Statuses
from tests.lane.making import ACCOUNT, Driven, after, batch_entry, entry, minted_lane, new_lane, record, row, said
from tests.lane.test_lane_doubt import REF, held, outcomes

ACCEPTED, UNKNOWN, DELIVERED = Status.ACCEPTED, Status.UNKNOWN, Status.DELIVERED


def retrying():
    """A batch under `retry` that waits for its second attempt."""
    driven = Driven(minted_lane())
    driven.offer([row(0), row(1)])
    driven.answer(driven.post(1.0), Ambiguous("timeout"))
    return driven


def in_flight():
    driven = Driven(minted_lane(policy="hold"))
    driven.offer([row(0), row(1)])
    driven.post(1.0)
    return driven


def never_in_doubt():
    driven = Driven(minted_lane())
    driven.offer([row(0), row(1)])
    driven.answer(driven.post(1.0), RetryLater("connect"))
    return driven


def accepted():
    driven = Driven(minted_lane())
    driven.offer([row(0), row(1)])
    driven.answer(driven.post(1.0), Accepted("batch-1"))
    return driven


BATCH: dict[str, Any] = {"batch_ref": REF}
NAMED = {**BATCH, "batch_id": "batch-9"}


@pytest.mark.parametrize(
    ("history", "verb", "arguments", "result"),
    [
        pytest.param(held, "accept", NAMED, Result.APPLIED, id="accept, held"),
        pytest.param(held, "resend", BATCH, Result.APPLIED, id="resend, held"),
        pytest.param(held, "give_up", BATCH, Result.APPLIED, id="give up, held"),
        pytest.param(retrying, "accept", NAMED, Result.APPLIED, id="accept, to be sent again"),
        pytest.param(retrying, "give_up", BATCH, Result.APPLIED, id="give up, to be sent again"),
        pytest.param(retrying, "resend", BATCH, Result.SENT_AGAIN_ANYWAY, id="resend, to be sent again"),
        pytest.param(in_flight, "accept", NAMED, Result.NOT_IN_DOUBT, id="accept, in flight"),
        pytest.param(in_flight, "resend", BATCH, Result.NOT_IN_DOUBT, id="resend, in flight"),
        pytest.param(never_in_doubt, "give_up", BATCH, Result.NOT_IN_DOUBT, id="give up, certainly not applied"),
        pytest.param(accepted, "give_up", BATCH, Result.NOT_IN_DOUBT, id="give up, accepted"),
        pytest.param(held, "resend", {"batch_ref": "ref-2"}, Result.NO_SUCH_BATCH, id="another batch"),
        pytest.param(held, "resend", {}, Result.NO_SUCH_BATCH, id="no batch"),
        pytest.param(held, "accept", BATCH, Result.NOT_UNDERSTOOD, id="accept without a batch id"),
        pytest.param(held, "accept", {**BATCH, "batch_id": "a/../b"}, Result.NOT_UNDERSTOOD, id="unsafe batch id"),
        pytest.param(held, "reconcile", BATCH, Result.NOT_UNDERSTOOD, id="a verb of a newer release"),
    ],
)
def test_each_command_in_each_situation(history, verb, arguments, result):
    driven = history()
    before = driven.journal
    found, write = driven.told(verb, **arguments)
    assert found is result
    answer = [found for key, value in write.entries if value is None and (found := answered(key.encode()))]
    assert answer == [("command-100", result)]
    if result is not Result.APPLIED:
        assert not write.outcomes
        assert {key: driven.journal[key] for key in before} == before


@pytest.mark.parametrize("history", [held, retrying])
def test_a_batch_that_an_operator_accepts_is_checked_to_its_end(history):
    driven = history()
    sequence = 1 if history is held else 0
    _, write = driven.told("accept", **NAMED)
    assert said(write) == [(ACCEPTED, 2, sequence, None, True)]
    assert {facts.batch_id for facts in write.events} == {"batch-9"}
    stored = batch_entry(write)
    assert stored is not None
    assert (stored.state, stored.batch_id, stored.command_id) == (BatchState.ACCEPTED, "batch-9", "command-100")
    check = driven.check(120)
    assert check.batch_id == "batch-9"
    intents = driven.lane.batches[REF].unsettled(driven.lane.tools.packer)
    verdict = Statuses(tuple(record(one.row) for one in intents))
    done = driven.wrote(answers.checked(driven.lane, REF, verdict, driven.now.wall_ms, driven.now))
    assert said(done) == [(DELIVERED, 2, sequence + 1, None, True)]
    assert driven.lane.idle


def test_where_statuses_are_not_checked_the_operators_word_is_the_end():
    driven = held(statuses="none")
    _, write = driven.told("accept", **NAMED)
    assert said(write) == [(ACCEPTED, 2, 1, None, True), (UNKNOWN, 2, 2, "not_checked", True)]
    assert driven.lane.idle


def test_a_batch_that_is_given_up_is_unknown_at_once():
    driven = held()
    _, write = driven.told("give_up", **BATCH)
    assert said(write) == [(UNKNOWN, 2, 1, "given_up", True)]
    assert driven.lane.idle


def test_a_batch_that_an_operator_sends_again_goes_once_flagged():
    driven = held()
    driven.told("resend", **BATCH)
    write = driven.answer(driven.post(61), Accepted("batch-2"))
    assert said(write) == [(ACCEPTED, 2, 1, None, True)]


def test_a_batch_that_was_sent_again_in_vain_is_held_again_without_another_word():
    driven = held()
    driven.told("resend", **BATCH)
    write = driven.answer(driven.post(61), Ambiguous("timeout"))
    assert said(write) == []
    assert driven.lane.batches[REF].phase is Phase.HELD
    assert driven.told("resend", offset=101, **BATCH)[0] is Result.APPLIED
    assert isinstance(driven.post(120), Post)


def test_the_same_command_read_again_sends_nothing_again():
    driven = held()
    driven.told("resend", **BATCH)
    driven.answer(driven.post(61), Ambiguous("timeout"))
    assert driven.told("resend", **BATCH)[0] is Result.ALREADY_APPLIED
    later = driven.taken_over(after(200), minted_lane(policy="hold"))
    assert later.told("resend", **BATCH)[0] is Result.ALREADY_APPLIED
    assert later.told("resend", offset=140, command_id="command-100", **BATCH)[0] is Result.ALREADY_APPLIED
    assert later.step(120) == []


def test_an_earlier_command_read_again_after_a_later_one_changes_nothing():
    driven = held()
    for offset in (100, 101):
        driven.told("resend", offset=offset, **BATCH)
        driven.answer(driven.post(100), Ambiguous("timeout"))
    assert [driven.told("resend", offset=offset, **BATCH)[0] for offset in (100, 101)] == [Result.ALREADY_APPLIED] * 2
    assert driven.step(300) == []


def test_a_command_that_was_applied_survives_a_crash():
    driven = held()
    driven.told("resend", **BATCH)
    later = driven.taken_over(after(60), minted_lane(policy="hold"))
    assert isinstance(later.post(60), Post)


# -- pausing


def test_a_paused_account_submits_nothing_and_asks_for_no_token():
    driven = Driven(new_lane())
    driven.told("pause")
    driven.offer([row(0)])
    assert driven.step(60) == []
    assert driven.told("resume")[0] is Result.APPLIED
    assert len(driven.step(1)) == 1


def test_a_paused_account_closes_no_batch():
    driven = Driven(minted_lane())
    driven.told("pause")
    driven.offer([row(0)])
    assert driven.step(60) == []
    assert not driven.lane.batches
    assert driven.lane.wake_at(driven.now) > driven.now.boot_s + 60


def test_a_batch_that_was_being_journaled_when_the_pause_came_waits():
    lane = minted_lane()
    driven = Driven(lane)
    driven.offer([row(0)])
    driven.now = after(1.0)
    (write,) = lane.step(driven.now)
    assert isinstance(write, Write)
    driven.told("pause")
    driven.wrote(write)
    assert driven.step(1) == []
    assert lane.batches[REF].entry.state is BatchState.UNSENT
    driven.told("resume", offset=101)
    assert isinstance(driven.post(1), Post)


def test_a_paused_account_still_checks_what_was_accepted():
    driven = accepted()
    driven.told("pause")
    assert isinstance(driven.check(60), Check)


def test_intents_of_a_paused_account_expire_with_an_outcome():
    driven = Driven(minted_lane())
    driven.told("pause")
    driven.offer([row(0)])
    driven.step(3 * 3600)
    assert outcomes(driven) == [(Status.EXPIRED, 1, 0, "expired", False)]


def test_a_pause_survives_a_crash_and_leaves_nothing_in_the_journal_when_it_ends():
    driven = Driven(minted_lane())
    _, write = driven.told("pause")
    assert entry(write, f"account/{ACCOUNT}") == AccountEntry(driven.now.wall_ms, "me", "command-100")
    later = driven.taken_over(after(60), minted_lane())
    later.offer([row(0)])
    assert later.step(60) == []
    _, write = later.told("resume", offset=101)
    assert entry(write, f"account/{ACCOUNT}") is None
    assert not later.taken_over(after(300)).lane.paused


def test_commands_read_again_in_their_order_end_where_they_ended():
    driven = Driven(minted_lane())
    for _ in range(2):
        driven.told("pause", offset=100)
        driven.told("resume", offset=101)
    assert not driven.lane.paused


def test_the_answer_to_a_command_is_told_from_all_else_in_the_journal():
    key, _ = Command("c-1", ACCOUNT, "pause", {}, 0, "me").answer(Result.APPLIED)
    assert answered(key.encode()) == ("c-1", "applied")
    assert answered(b"batch/c-1") is None
    assert answered(None) is None
