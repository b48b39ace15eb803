"""What a lane does with an answer: verdicts in, writes out.

The state of a batch after each verdict is decided here and nowhere else. What must stay true: whatever an answer
changes is one write; a batch whose attempt was ambiguous is flagged in the journal before it is sent again.
"""

from dataclasses import replace
from typing import assert_never

from streams.contracts.journal import BatchState
from streams.contracts.outcome import BatchFacts, Status
from streams.contracts.request import RequestRecord
from streams.lane.actions import Write
from streams.lane.backoff import Backoff
from streams.lane.batch import Batch
from streams.lane.breaker import LONG_PAUSE_S, long_pause
from streams.lane.checking import DEADLINE_GRACE_S
from streams.lane.correlate import correlate
from streams.lane.doubt import suspect
from streams.lane.instant import Instant
from streams.lane.settle import NOT_CHECKED, TIMEOUT, UNTRACKED, Final, from_statuses, same_for_all
from streams.lane.splitting import refused
from streams.lane.state import LaneState
from streams.lane.throttle import exhausted, throttled
from streams.lane.verdict import (
    Accepted,
    Ambiguous,
    CheckVerdict,
    Minted,
    NotVisible,
    PostVerdict,
    Reauthenticate,
    Refuse,
    RetryLater,
    Split,
    Statuses,
    TokenVerdict,
    verdict_name,
)


def posted(lane: LaneState, ref: str, verdict: PostVerdict, sent_ms: int, now: Instant) -> Write:
    """The answer to a POST. ``sent_ms`` is when it was sent."""
    batch = lane.batches[ref]
    write = Write(requests=[lane.request_ended("post", batch, batch.token, sent_ms, now, verdict_name(verdict))])
    match verdict:
        case Accepted():
            _accepted(lane, batch, verdict, now, write)
        case RetryLater():
            batch.again |= verdict.throttled or verdict.left
            _hold_for(lane, batch, verdict, now, write)
            if not verdict.throttled:
                lane.breaker.unanswered(lane.hold_until_s)
            _unsent(lane, batch, now.boot_s, write)
        case Reauthenticate():
            _replace_token(lane, batch, now, write)
            _unsent(lane, batch, now.boot_s, write)
        case Refuse():
            batch.again = True
            _forbidden(lane, now)
            _unsent(lane, batch, now.boot_s, write)
        case Split():
            refused(lane, batch, verdict, now, write)
        case Ambiguous(retry_after_s=retry_after_s):
            _ambiguous(lane, batch, retry_after_s, now, write)
        case _:
            assert_never(verdict)
    return write


def _accepted(lane: LaneState, batch: Batch, verdict: Accepted, now: Instant, write: Write) -> None:
    lane.backoff.succeed()
    lane.one_at_a_time = False
    if verdict.batch_id is None:
        lane.breaker.taken_unnamed(now.boot_s, lane.tools.rng)
    else:
        lane.breaker.accepted()
    _worked(lane, batch, now, verdict.exhausted_for_s)
    if batch.again:
        lane.retry_budget.accepted(now.boot_s)
    accept(lane, batch, verdict.batch_id, now, write)


def accept(lane: LaneState, batch: Batch, batch_id: str | None, now: Instant, write: Write) -> None:
    """The API took a batch, as its answer says or an operator. ``None``: without naming it; then that was all."""
    held = batch.unsettled(lane.tools.packer)
    lane.pass_on(batch, held)
    lane.parts.took(batch)
    batch.entry = replace(
        batch.entry,
        state=BatchState.ACCEPTED,
        batch_id=batch_id,
        accepted_at=now.wall_ms,
        part_of=None,
        part_requests=0,
        part_accepted=False,
    )
    lane.checks.accepted(batch, now)
    write.outcomes.append(same_for_all(batch, held, Final(Status.ACCEPTED, None), counted=True))
    write.events.append(_accepted_event(lane, batch, len(held)))
    batch.entry = replace(batch.entry, sequence=batch.entry.sequence + 1)
    batch.held = None
    if batch_id is None:
        lane.end(batch, [same_for_all(batch, held, Final(Status.UNKNOWN, UNTRACKED))], write)
    elif lane.options.statuses == "none":
        lane.end(batch, [same_for_all(batch, held, Final(Status.UNKNOWN, NOT_CHECKED), counted=True)], write)
    else:
        write.entries.append(batch.journaled())
        lane.checks.at(batch, now.boot_s + lane.checks.times.first_s())


def _accepted_event(lane: LaneState, batch: Batch, accepted: int) -> BatchFacts:
    entry = batch.entry
    return BatchFacts(
        "accepted",
        lane.options.account_id,
        batch.ref,
        entry.batch_id,
        entry.records,
        {Status.ACCEPTED: accepted},
        possible_duplicate=entry.possible_duplicate,
    )


def _unsent(lane: LaneState, batch: Batch, when_s: float, write: Write) -> None:
    batch.entry = replace(batch.entry, state=BatchState.UNSENT)
    write.entries.append(batch.journaled())
    lane.retry_at(batch, when_s)


def _ambiguous(lane: LaneState, batch: Batch, retry_after_s: float | None, now: Instant, write: Write) -> None:
    lane.one_at_a_time = True
    _fail(lane, now, at_least_s=retry_after_s)
    lane.breaker.unanswered(lane.hold_until_s)
    suspect(lane, batch, now.boot_s, write)


def _forbidden(lane: LaneState, now: Instant) -> None:
    _fail(lane, now, long_pause())
    lane.breaker.forbidden(lane.hold_until_s)


def _fail(lane: LaneState, now: Instant, pause: Backoff | None = None, at_least_s: float | None = None) -> None:
    """A failure of the account: nothing leaves for a while."""
    backoff = lane.backoff
    if pause is not None:
        backoff = replace(pause, failures=lane.backoff.failures)
        lane.backoff.failures += 1
    lane.hold_until_s = max(lane.hold_until_s, now.boot_s + backoff.fail(lane.tools.rng, at_least_s))


def _replace_token(lane: LaneState, batch: Batch, now: Instant, write: Write) -> None:
    """The API does not take this token: drop it, another one is minted if it is needed.

    One that worked has ended. A fresh one that is refused tells that the next will be, too: there are ten mints in
    thirty minutes, and an outage of two must not cost them all. Others that were in flight with it tell nothing new.
    """
    token = lane.tokens.find(batch.token)
    if token is None:
        return
    lane.tokens.refused(token, now)
    if not token.proven:
        _fail(lane, now, long_pause())
    elif not lane.tokens.usable(now):
        _fail(lane, now)
    write.entries.append(lane.journaled_tokens(now))


def _worked(lane: LaneState, batch: Batch, now: Instant, exhausted_for_s: float | None) -> None:
    token = lane.tokens.find(batch.token)
    if token is not None:
        lane.tokens.proved(token)
        exhausted(token, exhausted_for_s, now)


def _hold_for(lane: LaneState, batch: Batch, verdict: RetryLater, now: Instant, write: Write) -> None:
    """Certainly not applied: a throttled token pauses, anything else pauses the account."""
    if verdict.throttled:
        throttled(lane, lane.tokens.find(batch.token), verdict.retry_after_s, now, write)
    else:
        _fail(lane, now, at_least_s=verdict.retry_after_s)


def checked(lane: LaneState, ref: str, verdict: CheckVerdict, sent_ms: int, now: Instant) -> Write:
    """The answer to a status check. ``sent_ms`` is when it was sent."""
    batch = lane.batches[ref]
    write = Write(requests=[lane.request_ended("check", batch, batch.token, sent_ms, now, verdict_name(verdict))])
    match verdict:
        case Statuses(records, exhausted_for_s):
            lane.backoff.succeed()
            lane.breaker.check_answered()
            _worked(lane, batch, now, exhausted_for_s)
            held = batch.unsettled(lane.tools.packer)
            correlation = correlate(held, records)
            if correlation.complete or now.boot_s >= lane.checks.deadline_of(batch):
                if correlation.complete:
                    lane.checks.done(batch)
                lane.end(batch, from_statuses(batch, held, correlation), write)
                return write
            batch.pending_s = now.boot_s
        case Reauthenticate():
            _replace_token(lane, batch, now, write)
        case RetryLater():
            _hold_for(lane, batch, verdict, now, write)
            if not verdict.throttled:
                lane.breaker.check_unanswered(lane.hold_until_s)
        case Refuse():
            _forbidden(lane, now)
        case NotVisible():
            lane.breaker.check_answered()
            batch.pending_s = now.boot_s
        case Ambiguous():
            _unchecked(lane, now)
        case _:
            assert_never(verdict)
    _check_again(lane, batch, now, write)
    return write


def _unchecked(lane: LaneState, now: Instant) -> None:
    """A check brought no usable answer: its batch is asked for later; where it was a probe, the account waits too."""
    if not lane.breaker.lets_checks:
        _fail(lane, now)
        lane.breaker.check_unanswered(lane.hold_until_s)


def _check_again(lane: LaneState, batch: Batch, now: Instant, write: Write) -> None:
    last_s = lane.checks.deadline_of(batch)
    if now.boot_s >= last_s + DEADLINE_GRACE_S:
        held = batch.unsettled(lane.tools.packer)
        lane.end(batch, [same_for_all(batch, held, Final(Status.UNKNOWN, TIMEOUT))], write)
        return
    batch.checks += 1
    next_s = now.boot_s + lane.checks.times.next_s(batch.checks, lane.tools.rng)
    # One check falls on the deadline itself, so that whatever is known then is told.
    lane.checks.at(batch, max(now.boot_s + 1.0, min(next_s, last_s)) if next_s > last_s > now.boot_s else next_s)


def minted(lane: LaneState, verdict: TokenVerdict, sent_ms: int, now: Instant) -> Write:
    """The answer to a mint. ``sent_ms`` is when it was sent."""
    ordinal = None
    match verdict:
        case Minted(secret):
            ordinal = lane.tokens.minted(secret, now).ordinal
        case RetryLater(retry_after_s=retry_after_s):
            lane.tokens.mint_failed(now, lane.tools.rng, retry_after_s)
        case Refuse():
            lane.tokens.mint_failed(now, lane.tools.rng, LONG_PAUSE_S)
        case _:
            assert_never(verdict)
    record = RequestRecord(lane.options.account_id, "mint", ordinal, sent_ms, now.wall_ms, verdict_name(verdict))
    return Write(entries=[lane.journaled_tokens(now)], requests=[record])
