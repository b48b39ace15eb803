"""When an account stops submitting, what it tries meanwhile, and what closes its breaker again."""

import random
from typing import Any

import pytest

from streams.contracts.outcome import Status
from streams.lane import answers
from streams.lane.actions import Check, Mint, Post
from streams.lane.breaker import FAILED_MAX, REJECTED_MAX, UNTRACKED_MAX, Breaker, BreakerState, Cause
from streams.lane.verdict import (
    Accepted,
    Ambiguous,
    Minted,
    NotVisible,
    Reauthenticate,
    Refuse,
    RetryLater,
    Split,
    Statuses,
)
from tests.lane.making import START, Driven, after, minted_lane, new_lane, record, row, said

HOUR_MS = 3_600_000
LONG: dict[str, Any] = {"ends_at": START.wall_ms + 24 * HOUR_MS}

TIMEOUT = Ambiguous("timeout")
UNREACHABLE = RetryLater("connect")


def busy(verdicts, count=3000, **options):
    """An account with much to send, after these answers to its first POSTs."""
    driven = Driven(minted_lane(statuses="none", in_flight_max_per_token=1, ambiguous_resends_max=9, **options))
    driven.offer([row(number, **LONG) for number in range(count)])
    for verdict in verdicts:
        driven.answer(next_post(driven), verdict)
    return driven


def next_request(driven, seconds_max=1000.0):
    """Let the lane sleep as long as it wants, until it asks for requests."""
    end_s = driven.now.boot_s + seconds_max
    while (wake_s := driven.lane.wake_at(driven.now)) <= end_s:
        found = driven.step(max(0.001, wake_s - driven.now.boot_s))
        for _ in range(found.count(Mint())):
            driven.wrote(answers.minted(driven.lane, Minted("renewed"), driven.now.wall_ms, driven.now))
        if found := [asked for asked in found if asked != Mint()]:
            return found
    raise AssertionError(f"nothing is asked for within {seconds_max:g} s")


def next_post(driven) -> Post:
    (post,) = next_request(driven)
    assert isinstance(post, Post)
    return post


def state(driven):
    return driven.lane.breaker.state(driven.now.boot_s)


# verdicts → cause, or None where the breaker stays closed
OPENING: dict[str, tuple[list[Any], Cause | None]] = {
    "one": ([TIMEOUT], None),
    "two": ([TIMEOUT, UNREACHABLE], None),
    "three without an answer": ([TIMEOUT] * 3, Cause.FAILING),
    "three that failed": ([UNREACHABLE, TIMEOUT, UNREACHABLE], Cause.FAILING),
    "an acceptance between": ([TIMEOUT, TIMEOUT, Accepted("b"), TIMEOUT, TIMEOUT], None),
    "a refusal between": ([TIMEOUT, TIMEOUT, Split("http_400", None, None), TIMEOUT], None),
    "throttled": ([RetryLater("http_429", throttled=True, retry_after_s=1.0)] * 5, None),
    "untracked twice": ([Accepted(None)] * 2, None),
    "untracked three times": ([Accepted(None)] * 3, Cause.UNTRACKED),
    "a name between": ([Accepted(None)] * 2 + [Accepted("b")] + [Accepted(None)] * 2, None),
    "forbidden": ([Refuse("forbidden-error")], Cause.FORBIDDEN),
}


@pytest.mark.parametrize("name", OPENING)
@pytest.mark.faults("F50", "F62")
def test_what_opens_a_breaker(name):
    verdicts, cause = OPENING[name]
    driven = busy(verdicts)
    assert driven.lane.breaker.cause is cause
    assert state(driven) is (BreakerState.CLOSED if cause is None else BreakerState.OPEN)


def test_the_numbers_are_those_that_are_documented():
    assert (FAILED_MAX, UNTRACKED_MAX, REJECTED_MAX) == (3, 3, 10)


@pytest.mark.parametrize("name", [name for name, (_, cause) in OPENING.items() if cause])
@pytest.mark.faults("F47", "F62")
def test_one_intent_is_tried_and_closes_it(name):
    driven = busy(OPENING[name][0])
    assert driven.step(0.5) == []
    probe = next_post(driven)
    assert len(probe.held) == 1
    assert state(driven) is BreakerState.HALF_OPEN
    assert driven.step(20.0) == [], "one at a time"
    driven.answer(probe, Accepted("b-1"))
    assert state(driven) is BreakerState.CLOSED
    assert len(next_post(driven).held) > 1


@pytest.mark.parametrize(
    ("first", "again"),
    [
        pytest.param([TIMEOUT] * 3, TIMEOUT, id="F62-failing"),
        pytest.param([UNREACHABLE] * 3, UNREACHABLE, id="F50-unreachable"),
        pytest.param([Accepted(None)] * 3, Accepted(None), id="F55-untracked"),
        pytest.param([Refuse("403")], Refuse("403"), id="F47-forbidden"),
    ],
)
def test_a_probe_that_fails_opens_it_again_for_longer_and_with_jitter(first, again):
    driven = busy(first)
    waits = []
    for _ in range(30):
        opened_s = driven.now.boot_s
        driven.answer(next_post(driven), again, 0.0)
        waits.append(driven.now.boot_s - opened_s)
    assert max(waits[:3]) < max(waits)
    assert max(waits) <= 300.0
    assert len({round(wait, 3) for wait in waits}) > 20
    assert sum(waits[10:]) >= 20 * 2.0, "no busy loop"
    assert driven.lane.breaker.openings >= 30


def test_what_waits_and_is_small_is_tried_first():
    driven = busy([TIMEOUT] * 3)
    probe = next_post(driven)
    assert probe.held[0].row.source_offset >= 500, "one of the 500 that are in doubt would have to be taken out"
    driven.answer(probe, TIMEOUT)
    assert next_post(driven).held == probe.held


def test_where_nothing_else_waits_one_intent_is_taken_out_of_a_batch():
    driven = busy([TIMEOUT] * 3, count=500)
    probe = next_post(driven)
    assert len(probe.held) == 1
    (rest,) = [batch for batch in driven.lane.batches.values() if batch.ref != probe.batch_ref]
    one = driven.lane.batches[probe.batch_ref]
    assert (rest.unsettled_count, rest.entry.possible_duplicate, rest.entry.resends) == (499, True, 3)
    assert (one.entry.possible_duplicate, one.entry.resends, one.entry.part_of) == (True, 3, None)
    driven.answer(probe, Accepted("b-1"))
    driven.answer(next_post(driven), Accepted("b-2"))
    assert (
        sum(count for write in driven.writes for status, count, *_ in said(write) if status is Status.ACCEPTED) == 500
    )


@pytest.mark.faults("F50")
def test_a_status_check_goes_first_where_no_answers_came():
    driven = Driven(minted_lane(in_flight_max_per_token=1))
    driven.offer([row(0, **LONG)])
    driven.answer(driven.post(1.0), Accepted("b-1"))
    driven.offer([row(number, **LONG) for number in range(1, 600)], 1)
    for _ in range(3):
        driven.answer(next_post(driven), UNREACHABLE)
    driven.now = after(60.0, driven.now)
    (check,) = driven.step()
    assert isinstance(check, Check)
    assert driven.step(5.0) == [], "nothing else until it is answered"
    driven.wrote(answers.checked(driven.lane, check.batch_ref, UNREACHABLE, 0, driven.now))
    assert state(driven) is BreakerState.OPEN
    while not isinstance(asked := next_request(driven)[0], Post):
        assert isinstance(asked, Check)
        driven.wrote(answers.checked(driven.lane, asked.batch_ref, NotVisible("404"), 0, driven.now))
    assert len(asked.held) == 1


def test_status_checks_go_on_while_everything_is_refused():
    driven = Driven(minted_lane(in_flight_max_per_token=1))
    driven.offer([row(0, **LONG)])
    driven.answer(driven.post(1.0), Accepted("b-1"))
    driven.offer([row(number, **LONG) for number in range(1, 600)], 1)
    for _ in range(6):
        (asked,) = [one for one in next_request(driven) if isinstance(one, Post)]
        driven.answer(asked, Split("http_400", None, None), 0.0)
    assert driven.lane.breaker.cause is Cause.REFUSED
    assert state(driven) is BreakerState.OPEN
    check = next(one for one in next_request(driven) if isinstance(one, Check))
    write = driven.wrote(
        answers.checked(driven.lane, check.batch_ref, Statuses((record(row(0, **LONG)),)), 0, driven.now)
    )
    assert said(write) == [(Status.DELIVERED, 1, 1, None, False)]


@pytest.mark.faults("F62")
def test_what_was_decided_on_before_does_not_leave_as_a_whole():
    driven = busy([TIMEOUT] * 2)
    post = next_post(driven)
    driven.lane.one_at_a_time = False
    driven.lane.options = driven.lane.options.__class__(driven.lane.options.account_id, in_flight_max_per_token=9)
    journaled = [write for _ in range(3) for write in driven.lane.step(after(2.0, driven.now))]
    driven.answer(post, UNREACHABLE)
    for write in journaled:
        driven._perform(write)
    assert [len(one.held) for one in driven.step(90.0) if isinstance(one, Post)] == [1]


@pytest.mark.faults("F47")
def test_calls_that_end_while_it_is_open_end_with_an_outcome():
    driven = Driven(minted_lane())
    driven.offer([row(number) for number in range(600)])
    driven.answer(driven.post(1.0), Refuse("403"))
    while driven.now.boot_s < START.boot_s + 2 * 3600.0 and driven.lane.wake_at(driven.now) < float("inf"):
        for asked in driven.step(max(0.001, driven.lane.wake_at(driven.now) - driven.now.boot_s)):
            if isinstance(asked, Post):
                driven.answer(asked, Refuse("403"))
            else:
                driven.wrote(answers.minted(driven.lane, Minted("renewed"), driven.now.wall_ms, driven.now))
    ended = [(status, count) for write in driven.writes for status, count, *_ in said(write)]
    assert {status for status, _ in ended} == {Status.EXPIRED}
    assert sum(count for _, count in ended) == 600
    assert driven.lane.idle


def test_a_paused_account_tries_nothing():
    driven = busy([TIMEOUT] * 3)
    driven.told("pause")
    driven.now = after(600.0, driven.now)
    assert driven.step() == []
    driven.told("resume", offset=101)
    assert len(driven.post().held) == 1


def test_a_new_owner_begins_closed():
    driven = busy([TIMEOUT] * 3)
    successor = driven.taken_over(after(1.0, driven.now), new_lane())
    assert successor.lane.breaker.cause is None
    driven.now = after(600.0, driven.now)
    assert [type(one) for one in successor.step()] == [Mint]


def test_a_token_that_is_not_taken_opens_nothing():
    driven = busy([TIMEOUT, Reauthenticate("401")])
    assert driven.lane.breaker.cause is None


def test_the_breaker_is_a_value_that_needs_no_lane():
    breaker, dice = Breaker(), random.Random(1)
    for now_s in (1.0, 2.0):
        assert not breaker.refusal(now_s, dice, alone=False, suspects=500)
    assert breaker.refusal(3.0, dice, alone=False, suspects=500)
    assert breaker.state(3.0) is BreakerState.HALF_OPEN
    for now_s in (4.0, 5.0):
        assert breaker.refusal(now_s, dice, alone=True, suspects=500)
        assert breaker.state(now_s) is BreakerState.HALF_OPEN
    assert breaker.refusal(6.0, dice, alone=True, suspects=500)
    assert breaker.state(6.0) is BreakerState.OPEN
    breaker.resume()
    assert breaker.state(6.0) is BreakerState.HALF_OPEN
    breaker.accepted()
    assert breaker.state(6.0) is BreakerState.CLOSED
