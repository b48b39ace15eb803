"""Batches whose fate is not known: what each policy makes of them, across crashes, until they end."""

from dataclasses import replace

import pytest

from streams.contracts.journal import BatchState
from streams.contracts.outcome import Status
from streams.lane.recovery import FOREIGN_POST_S
from streams.lane.verdict import Accepted, Ambiguous, Reauthenticate, Refuse, RetryLater, Split
from tests.lane.making import (
    MINUTE_MS,
    START,
    Driven,
    after,
    batch_entry,
    minted_lane,
    row,
    said,
)

ACCEPTED, UNKNOWN, UNRESOLVED, EXPIRED = Status.ACCEPTED, Status.UNKNOWN, Status.UNRESOLVED, Status.EXPIRED
REF = "ref-1"

# A batch of two: one call ends after ten minutes, the other after an hour.
SOON_MS = START.wall_ms + 10 * MINUTE_MS
LATE_MS = START.wall_ms + 60 * MINUTE_MS


def rows():
    return [row(0, starts_at=START.wall_ms, ends_at=SOON_MS), row(1, starts_at=START.wall_ms, ends_at=LATE_MS)]


def held(**options):
    """A batch under `hold`, after an attempt that may have been applied."""
    driven = Driven(minted_lane(policy="hold", **options))
    driven.offer(rows())
    driven.answer(driven.post(1.0), Ambiguous("timeout"))
    return driven


def outcomes(driven):
    return [told for write in driven.writes for told in said(write)]


@pytest.mark.faults("F53")
def test_hold_says_that_the_batch_is_unresolved_and_sends_nothing_again():
    driven = held()
    assert said(driven.writes[-1]) == [(UNRESOLVED, 2, 0, "ambiguous", True)]
    entry = batch_entry(driven.writes[-1])
    assert entry is not None
    assert (entry.state, entry.policy, entry.sequence) == (BatchState.AMBIGUOUS, "hold", 1)
    requests = [request for minutes in range(120) for request in driven.step(minutes)]
    assert not requests


def test_what_nobody_resolved_ends_as_unknown_with_its_call():
    driven = held()
    driven.step(10 * 60 - 2)
    assert outcomes(driven)[1:] == []
    driven.step(1)
    assert outcomes(driven)[1:] == [(UNKNOWN, 1, 1, "ambiguous", True)]
    driven.step(50 * 60)
    assert outcomes(driven)[2:] == [(UNKNOWN, 1, 1, "ambiguous", True)]
    assert driven.lane.idle
    assert not [key for key, value in driven.journal.items() if key.endswith(REF) and value is not None]


def test_calls_that_end_within_a_second_are_told_together():
    driven = Driven(minted_lane(policy="hold"))
    driven.offer([row(number, starts_at=START.wall_ms, ends_at=SOON_MS + 10 * number) for number in range(50)])
    driven.answer(driven.post(1.0), Ambiguous("timeout"))
    while not driven.lane.idle:
        driven.step(max(0.001, driven.lane.wake_at(driven.now) - driven.now.boot_s))
    ends = [count for status, count, *_ in outcomes(driven) if status is UNKNOWN]
    assert ends == [1, 49]


def test_an_unresolved_batch_lets_the_next_of_its_pairs_go():
    driven = held()
    driven.offer([row(2, receiver="920")], offset=1)
    post = driven.post(120)
    assert [one.row.source_offset for one in post.held] == [2]


@pytest.mark.parametrize("crash", [False, True], ids=["same owner", "new owner"])
def test_resolving_a_batch_does_not_let_the_next_but_one_of_its_pairs_overtake(crash):
    driven = held(statuses="none")
    if crash:
        driven = driven.taken_over(after(60), minted_lane(policy="hold", statuses="none"))
        assert driven.lane.tools.new_ref() == REF  # that name is taken
    driven.offer([row(9)], offset=1)
    driven.answer(driven.post(120), Accepted("batch-9"))  # from here on two may be on their way
    driven.offer([row(2, receiver="920"), row(3, receiver="920")], offset=2)
    post = driven.post(60)
    assert [one.row.source_offset for one in post.held] == [2]
    driven.told("give_up", batch_ref=REF)
    assert driven.step(60) == [], "the third waits for the second"
    driven.answer(post, Accepted("batch-2"))
    assert [one.row.source_offset for one in driven.post(60).held] == [3]


def test_a_lane_that_only_holds_asks_for_no_token():
    driven = held()
    driven.step(3 * 3600)
    assert not driven.requests[1:]


def test_so_many_unresolved_batches_at_most_until_an_operator_acts():
    driven = held(open_batches_max=1)
    driven.offer([row(2)], offset=1)
    assert driven.step(120) == []
    driven.told("give_up", batch_ref=REF)
    assert [one.row.source_offset for one in driven.post(1).held] == [2]


def test_a_new_owner_goes_on_holding():
    driven = held()
    later = driven.taken_over(after(60), minted_lane(policy="hold"))
    assert later.step(120) == []
    assert outcomes(later) == [], "it was said that they are unresolved"
    later.step(10 * 60)
    assert outcomes(later) == [(UNKNOWN, 1, 1, "ambiguous", True)]


@pytest.mark.faults("F69")
def test_an_open_attempt_of_a_previous_owner_is_unresolved_once_it_cannot_be_running():
    driven = Driven(minted_lane(policy="hold"))
    driven.offer(rows())
    driven.post(1.0)
    later = driven.taken_over(after(5), minted_lane(policy="hold"))
    later.step(FOREIGN_POST_S - 1)
    assert outcomes(later) == []
    assert later.told("resend", batch_ref=REF)[0] == "not_in_doubt"
    later.step(2)
    assert outcomes(later) == [(UNRESOLVED, 2, 0, "ambiguous", True)]
    assert later.requests == []


@pytest.mark.parametrize(
    ("made_under", "now", "sent_again"),
    [
        pytest.param("retry", "hold", True, id="retry, now hold"),
        pytest.param("hold", "retry", False, id="hold, now retry"),
    ],
)
def test_the_policy_of_a_batch_is_the_one_it_was_made_under(made_under, now, sent_again):
    driven = Driven(minted_lane(policy=made_under))
    driven.offer(rows())
    driven.post(1.0)
    later = driven.taken_over(after(5), minted_lane(policy=now))
    assert bool(later.step(120)) is sent_again


def test_a_policy_of_a_newer_release_never_sends_again():
    driven = Driven(minted_lane())
    driven.offer(rows())
    post = driven.post(1.0)
    batch = driven.lane.batches[REF]
    batch.entry = replace(batch.entry, policy="reconcile")
    driven.answer(post, Ambiguous("timeout"))
    assert driven.step(600) == []


@pytest.mark.parametrize(
    "verdict",
    [RetryLater("connect"), Reauthenticate("401"), Refuse("403"), Split("400", None, None), Ambiguous("again")],
    ids=lambda verdict: type(verdict).__name__,
)
@pytest.mark.parametrize("policy", ["retry", "hold"])
def test_once_in_doubt_nothing_ends_as_expired_or_rejected(policy, verdict):
    """Whatever answers the second attempt, and whatever happens until the calls are over."""
    driven = Driven(minted_lane(policy=policy))
    driven.offer(rows())
    driven.answer(driven.post(1.0), Ambiguous("timeout"))
    if policy == "hold":
        driven.told("resend", batch_ref=REF)
    driven.answer(driven.post(61), verdict)
    driven.told("pause")  # so that there is no third attempt
    driven.step(9 * 60)
    driven.step(60 * 60)
    told = outcomes(driven)
    assert {status for status, *_ in told} == {UNKNOWN} | ({UNRESOLVED} if policy == "hold" else set())
    assert sum(count for status, count, *_ in told if status is UNKNOWN) == 2
    assert all(flagged for *_, flagged in told)
    assert driven.lane.idle


def test_what_waits_for_another_attempt_ends_in_time_though_no_request_can_leave():
    driven = Driven(minted_lane())
    driven.offer(rows())
    driven.answer(driven.post(1.0), Refuse("403"))
    driven.told("pause")
    driven.step(10 * 60)
    assert outcomes(driven) == [(EXPIRED, 1, 0, "expired", False)]
    driven.step(60 * 60)
    assert outcomes(driven) == [(EXPIRED, 1, 0, "expired", False)] * 2
    assert driven.lane.idle


@pytest.mark.faults("F55", "F57")
@pytest.mark.parametrize("policy", ["retry", "hold"])
def test_untracked_is_never_sent_again(policy):
    driven = Driven(minted_lane(policy=policy))
    driven.offer(rows())
    write = driven.answer(driven.post(1.0), Accepted(None))
    assert said(write) == [(ACCEPTED, 2, 0, None, False), (UNKNOWN, 2, 1, "untracked", False)]
    assert {facts.batch_id for facts in write.events} == {None}
    assert driven.step(600) == []
    assert driven.lane.idle


@pytest.mark.parametrize("policy", ["retry", "hold"])
def test_after_an_ambiguous_answer_one_post_is_in_flight_until_one_is_accepted(policy):
    driven = Driven(minted_lane(policy=policy, records_max=1, in_flight_max_per_token=2))
    driven.offer(rows())
    first, second = (driven.post(1.0), driven.post(1.0))
    driven.answer(first, Ambiguous("timeout"))
    driven.answer(second, RetryLater("429", throttled=True))
    driven.offer([row(number) for number in range(2, 6)], offset=1)
    post = driven.post(120)
    assert driven.step(60) == []
    driven.answer(post, Accepted("batch-1"))
    assert len([request for _ in range(4) for request in driven.step(1.0) if "Post" in type(request).__name__]) == 2
