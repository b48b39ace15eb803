"""When the window of a lane gives a batch, and which of its intents are in it.

The API counts requests, not records: a batch should be as full as it can be without its intents waiting for that longer
than they must. The oldest intent always waits for company for the *linger*. A batch that is not full leaves then, as
long as the account has an allowance for it (:mod:`streams.lane.allowance`) and the slots that are there last
(:mod:`streams.lane.spread`). What a batch costs is learned: its POST and, where statuses are checked, its checks. In
figures, for one token of 60 requests a minute and one request for each batch:

- Low traffic does not wait beyond the linger and the spacing of the token's requests (0.8 s): up to 48 batches a minute
  leave so, and 6 more at once.
- Where intents come oftener than once a second, a batch after every linger would need more slots than there are. So a
  batch is sent every 1.25 s then, whatever its size, without waves; an intent waits for at most that. From four fifths
  of the load on a batch is full before the gap is over (500 records at 400 a second take 1.25 s), and no small one is
  sent any more.
- Where a call's effective deadline is less than a second away nothing is held in reserve, and the gap is 1 s.
- A status check that is overdue says that slots are scarce: such a batch waits until it is full, or as long as it may.
- No gap is longer than :data:`GAP_MAX` even spacings (5 s): so small batches cost a fifth of the slots at the worst.

A *full* batch leaves as soon as there is a slot; only where more has been used than the minute gives, it leaves room
for the next one, at the rate that lasts, and a little faster (:data:`HASTE`), so that the slots and not the gap are
what it waits for. Status checks go by the same gap since the last request of either kind.

What must stay true: an intent that could not be answered before its call ends is never in a batch; it leaves the window
with its outcome instead. The gap only says when at the earliest: the limits are kept by :mod:`streams.lane.pace`.
"""

from streams.contracts.journal import BatchEntry, BatchState, Held
from streams.contracts.outcome import Status
from streams.lane.actions import Action, Outcomes, Write
from streams.lane.batch import Batch, Phase
from streams.lane.instant import Instant
from streams.lane.labels import UNKNOWN_LABEL
from streams.lane.settle import EXPIRED
from streams.lane.spread import Supply, supply
from streams.lane.state import LaneState

# An intent whose effective deadline is nearer than this does not wait for more company than that of its linger.
URGENT_MS = 1000

# A check that has waited this long has done so for want of a request, not for its turn.
OVERDUE_S = 5.0

# The longest gap before a batch that is not full, and before anything else, in even spacings (a minute over its slots).
GAP_MAX = 5.0
GAP_MAX_FULL = 2.0

# At the very rate that lasts, a slot would now and then be free while the gap is not over, and be lost for good.
HASTE = 0.95

# Where a cursor is too ragged, so many batches are filled in the order of places: finding them costs a look at all.
HASTENED_BATCHES = 20

# Expired intents leave the window this often at most, and so many at a time; more of them leave a little later.
SWEEP_S = 1.0
SWEEP_INTENTS_MAX = 5_000
SWEEP_AGAIN_S = 0.1


def ready_at(lane: LaneState, now: Instant) -> float:
    """When the window should leave (``boot_s``), or when to look again. Something must be sendable."""
    if lane.window.sendable >= lane.records_max(now):
        return _full_at(lane, now)
    options, slots = lane.options, _supply(lane, now)
    deadline_ms = lane.window.first_deadline_ms()
    assert deadline_ms is not None, "only asked while something is sendable"
    lingered_s = lane.window.since_s + options.linger_ms / 1000
    cost = _cost(lane)
    company_s = _company_at(lane, slots, cost, now)
    urgent_s = max(now.boot_of(deadline_ms - URGENT_MS), slots.next_at(lane.posted_s, GAP_MAX, cost=cost))
    return max(lingered_s, min(company_s, urgent_s))


def _company_at(lane: LaneState, slots: Supply, cost: float, now: Instant) -> float:
    if lane.checks.due.first_at() < now.boot_s - OVERDUE_S:
        return slots.look_by(lane.posted_s + cost * GAP_MAX / slots.even_per_s)
    return max(slots.next_at(lane.posted_s, GAP_MAX), slots.look_by(lane.allowance.next_at(cost, slots)))


def part_at(lane: LaneState, now: Instant) -> float:
    """When the next part of a refused batch should leave (``boot_s``), or when to look again: as if it were full."""
    due_s = lane.parts.due.first_at()
    return due_s if due_s > now.boot_s else _full_at(lane, now)


def check_at(lane: LaneState, now: Instant) -> float:
    """When the next status check should be made (``boot_s``), or when to look again."""
    next_s = lane.checks.next_at
    return next_s if next_s > now.boot_s else _supply(lane, now).next_at(lane.requested_s, GAP_MAX_FULL)


def _full_at(lane: LaneState, now: Instant) -> float:
    return _supply(lane, now).next_at(lane.posted_s, GAP_MAX_FULL, cost=HASTE)


def left(lane: LaneState, now: Instant) -> None:
    """A batch of whatever size is about to leave."""
    lane.posted_s = lane.requested_s = now.boot_s
    lane.allowance.charge(_cost(lane), _supply(lane, now))


def _cost(lane: LaneState) -> float:
    return 1.0 if lane.options.statuses == "none" else lane.checks.times.requests()


def _supply(lane: LaneState, now: Instant) -> Supply:
    return supply([token.pace for token in lane.tokens.usable(now)], lane.tokens.pace, now.boot_s)


def close(lane: LaneState, records_max: int, now: Instant, actions: list[Action]) -> tuple[Batch, Write] | None:
    """Close a batch of so many intents at most; returns it with the write that its journal entry belongs to.

    Nothing of the window is left that is over. Where that is too much for one write, the batch has to wait a moment.
    """
    lane.sweep_at_s = float("-inf")
    if over := sweep(lane, now):
        actions.extend(over)
        if lane.sweep_at_s < now.boot_s + SWEEP_S:
            return None
    _hasten(lane)
    held, unknown = lane.labels.sort(lane.window.take(records_max, now.wall_ms))
    if unknown:
        actions.append(_refused(lane, unknown))
    if not held:
        return None
    entry = BatchEntry(lane.options.account_id, BatchState.UNSENT, len(held), lane.options.policy)
    batch = Batch(lane.tools.new_ref(), entry, lane.tools.packer.pack(held), Phase.JOURNAL, held)
    lane.batches[batch.ref] = batch
    write = Write(entries=[batch.journaled_content()])
    lane.take(held, write)
    return batch, write


def _refused(lane: LaneState, held: list[Held]) -> Write:
    """These intents name a label that the account does not have: they end here, unsent."""
    write = Write(outcomes=[Outcomes(Status.REJECTED, held, 0, reason=UNKNOWN_LABEL)])
    write.dead.extend((one, UNKNOWN_LABEL) for one in held)
    lane.take(held, write)
    lane.window.settled(held)
    return write


def _hasten(lane: LaneState) -> None:
    """Let those leave first whose places cost the most to remember."""
    count = HASTENED_BATCHES * lane.options.records_max
    if lane.cursor.runs() > lane.options.cursor_runs_max // 2:
        lane.window.hasten_oldest(count)
    elif lane.carry:
        lane.window.hasten(lane.carry.oldest(count))


def sweep(lane: LaneState, now: Instant) -> list[Write]:
    """Let those leave the window whose time is over, unless that was done a moment ago."""
    if now.boot_s < lane.sweep_at_s:
        return []
    over = lane.window.expire(now.wall_ms + lane.options.expiry_margin_ms, SWEEP_INTENTS_MAX)
    lane.sweep_at_s = now.boot_s + (SWEEP_S if len(over) < SWEEP_INTENTS_MAX else SWEEP_AGAIN_S)
    return [expired(lane, over)] if over else []


def sweep_at(lane: LaneState, now: Instant) -> float:
    """When :func:`sweep` has something to do next (``boot_s``)."""
    return max(lane.sweep_at_s, now.boot_of(lane.window.ends_first_ms - lane.options.expiry_margin_ms))


def expired(lane: LaneState, held: list[Held]) -> Write:
    """These intents end here, unsent."""
    write = Write(outcomes=[Outcomes(Status.EXPIRED, held, 0, reason=EXPIRED)])
    lane.take(held, write)
    return write
