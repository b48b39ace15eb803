"""What becomes of batches whose fate is not known, and of those that wait too long.

A request that was sent and brought no usable answer may have been applied; no client can find out (the two generals'
problem). What is done about it is the policy that is written in the batch's own journal entry, so a change of settings
never reaches back: ``retry`` sends it again, so often at most, with its outcomes flagged; ``hold`` says that it is
unresolved and leaves the decision to an operator. What must stay true: whatever was in doubt once ends as
accepted or as unknown, never as expired, rejected or invalid; under ``hold`` nothing is ever sent again by itself.
"""

from collections.abc import Iterator
from dataclasses import replace

from streams.contracts.journal import BatchState
from streams.contracts.outcome import Status
from streams.lane.actions import Write
from streams.lane.batch import Batch
from streams.lane.instant import Instant
from streams.lane.settle import AMBIGUOUS, UNRESOLVED, Final, same_for_all, unsendable
from streams.lane.state import LaneState

# Intents of a held batch end one by one; those that end within this time are told together.
LOOK_EVERY_S = 1.0


def suspect(lane: LaneState, batch: Batch, when_s: float, write: Write) -> None:
    """An attempt of a batch may have been applied: flag it, and act by its policy; ``retry`` sends it at ``when_s``."""
    entry = replace(batch.entry, state=BatchState.AMBIGUOUS, possible_duplicate=True, resends=batch.entry.resends + 1)
    batch.entry = entry
    batch.again = True
    if holds(entry.policy):
        _leave_to_operator(lane, batch, write)
    elif entry.resends > lane.options.ambiguous_resends_max:
        end_unknown(lane, batch, Final(Status.UNKNOWN, AMBIGUOUS), write)
    else:
        write.entries.append(batch.journaled())
        lane.retry_at(batch, when_s)


def holds(policy: str) -> bool:
    """Whether a batch with this policy is never sent again by itself. A policy of a newer release is taken for such."""
    return policy != "retry"


def end_unknown(lane: LaneState, batch: Batch, final: Final, write: Write) -> None:
    """Nobody will ever know: the same last outcome for all that is unsettled."""
    held = batch.unsettled(lane.tools.packer)
    lane.pass_on(batch, held)
    lane.end(batch, [same_for_all(batch, held, final)], write)


def _leave_to_operator(lane: LaneState, batch: Batch, write: Write) -> None:
    if not batch.passed_on:
        held = batch.unsettled(lane.tools.packer)
        lane.pass_on(batch, held)
        write.outcomes.append(same_for_all(batch, held, Final(Status.UNRESOLVED, UNRESOLVED)))
        batch.entry = replace(batch.entry, sequence=batch.entry.sequence + 1)
    write.entries.append(batch.journaled())
    batch.held = None
    # Looked at once more in the next step, which knows when its first intent ends.
    lane.hold(batch, float("-inf"))


def settle_overdue(lane: LaneState, now: Instant) -> Iterator[Write]:
    """Settle the intents of waiting batches whose time is over, and let the policy act where its wait has ended.

    Those that are to be sent again end a margin before the call does, those of a held batch with it. Nothing here needs
    a token or a slot, so it happens to an account that is paused or blocked as well.
    """
    packer = lane.tools.packer
    unsendable_ms = now.wall_ms + lane.options.expiry_margin_ms
    for late in [batch for batch in lane.to_be_sent() if batch.ends_first_ms(packer) <= unsendable_ms]:
        yield _settle_over(lane, late, unsendable_ms)
        if not late.unsettled_count:
            lane.take_out(late)
    while batch := lane.held.pop(now.boot_s):
        if batch.entry.state is BatchState.OPEN:
            write = Write()
            suspect(lane, batch, now.boot_s, write)
            yield write
            continue
        if batch.ends_first_ms(packer) <= now.wall_ms:
            yield _settle_over(lane, batch, now.wall_ms)
        if batch.unsettled_count:
            lane.hold(batch, max(now.boot_s + LOOK_EVERY_S, now.boot_of(batch.ends_first_ms(packer))))


def overdue_at(lane: LaneState, now: Instant) -> float:
    """When :func:`settle_overdue` has something to do next (``boot_s``)."""
    packer, margin_ms = lane.tools.packer, lane.options.expiry_margin_ms
    ends_ms = min((batch.ends_first_ms(packer) for batch in lane.to_be_sent()), default=float("inf"))
    return min(lane.held.first_at(), now.boot_of(ends_ms - margin_ms))


def _settle_over(lane: LaneState, batch: Batch, ends_by_ms: int) -> Write:
    gone = batch.leave_out(lambda one: one.row.ends_at <= ends_by_ms, lane.tools.packer)
    lane.pass_on(batch, gone)
    write = Write(outcomes=[same_for_all(batch, gone, unsendable(batch))])
    if batch.unsettled_count:
        write.entries.append(batch.journaled())
    else:
        lane.end(batch, [], write)
    return write
