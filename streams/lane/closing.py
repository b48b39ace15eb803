"""When the window of a lane gives a batch, and which of its intents are in it.

What must stay true: an intent that could not be answered before its call ends is never in a batch; it leaves the window
with its outcome instead.
"""

import math

from streams.contracts.journal import BatchEntry, BatchState, Held
from streams.contracts.outcome import Status
from streams.lane.actions import Action, Outcomes, Write
from streams.lane.batch import Batch, Phase
from streams.lane.instant import Instant
from streams.lane.settle import EXPIRED
from streams.lane.state import LaneState

# A fifth of a minute's slots: below, requests are too scarce to be spent on small batches.
SCARCE_SHARE = 0.2

# An intent whose effective deadline is nearer than this no longer waits for company.
URGENT_MS = 1000

# Where a cursor is too ragged, so many batches are filled in the order of places: finding them costs a look at all.
HASTENED_BATCHES = 20

# Expired intents leave the window this often at most, and rarer where it is so long that looking through it costs.
SWEEP_S = 1.0
SWEEP_INTENTS_PER_S = 20_000


def ready_at(lane: LaneState, now: Instant) -> float:
    """When the window should leave (``boot_s``), provided there is a slot. Something must be sendable."""
    if lane.window.sendable >= lane.records_max(now):
        return now.boot_s
    deadline_ms = lane.window.first_deadline_ms()
    assert deadline_ms is not None, "only asked while something is sendable"
    lingered = lane.window.since_s + lane.options.linger_ms / 1000
    return max(lingered, min(now.boot_of(deadline_ms - URGENT_MS), _plenty_at(lane, now)))


def _plenty_at(lane: LaneState, now: Instant) -> float:
    """When requests are plentiful enough for a small batch; infinity if only an event can bring that about."""
    if lane.checks.due.first_at() < now.boot_s:
        return float("inf")
    count = math.ceil(SCARCE_SHARE * lane.options.requests_per_minute_per_token)
    return min((token.pace.free_at(count, now.boot_s) for token in lane.tokens.usable(now)), default=float("inf"))


def close(lane: LaneState, records_max: int, now: Instant, actions: list[Action]) -> tuple[Batch, Write] | None:
    """Close a batch of so many intents at most; returns it with the write that its journal entry belongs to."""
    _hasten(lane)
    held = _still_wanted(lane, lane.window.take(records_max), now, actions)
    if not held:
        return None
    entry = BatchEntry(lane.options.account_id, BatchState.UNSENT, len(held), lane.options.policy)
    batch = Batch(lane.tools.new_ref(), entry, lane.tools.packer.pack(held), Phase.JOURNAL, held)
    lane.batches[batch.ref] = batch
    write = Write(entries=[batch.journaled_content()])
    lane.take(held, write)
    return batch, write


def _hasten(lane: LaneState) -> None:
    """Let those leave first whose places cost the most to remember."""
    count = HASTENED_BATCHES * lane.options.records_max
    if lane.cursor.runs() > lane.options.cursor_runs_max // 2:
        lane.window.hasten_oldest(count)
    elif lane.carry:
        lane.window.hasten(lane.carry.oldest(count))


def _still_wanted(lane: LaneState, taken: list[Held], now: Instant, actions: list[Action]) -> list[Held]:
    ends_by_ms = now.wall_ms + lane.options.expiry_margin_ms
    over = [one for one in taken if one.row.ends_at <= ends_by_ms]
    if not over:
        return taken
    actions.append(expired(lane, over))
    lane.window.settled(over)
    return [one for one in taken if one.row.ends_at > ends_by_ms]


def sweep(lane: LaneState, now: Instant) -> list[Write]:
    """Let those leave the window whose time is over, unless that was done a moment ago."""
    if now.boot_s < lane.sweep_at_s:
        return []
    lane.sweep_at_s = now.boot_s + max(SWEEP_S, len(lane.window) / SWEEP_INTENTS_PER_S)
    over = lane.window.expire(now.wall_ms + lane.options.expiry_margin_ms)
    return [expired(lane, over)] if over else []


def sweep_at(lane: LaneState, now: Instant) -> float:
    """When :func:`sweep` has something to do next (``boot_s``)."""
    return max(lane.sweep_at_s, now.boot_of(lane.window.ends_first_ms - lane.options.expiry_margin_ms))


def expired(lane: LaneState, held: list[Held]) -> Write:
    """These intents end here, unsent."""
    write = Write(outcomes=[Outcomes(Status.EXPIRED, held, 0, reason=EXPIRED)])
    lane.take(held, write)
    return write
