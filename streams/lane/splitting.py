"""Batches that the API refuses as a whole (400, 413, 422): divided until the bad records are alone.

A batch that was refused is replaced by parts in one write, its tombstone with it: at any crash its intents are in the
one or in the others. The parts keep what was known of the batch: the sequence of the next outcome, the attempts, the
policy, the doubt. What must stay true: an intent is rejected only after it was refused alone; every intent of the batch
is in exactly one of its parts; while everything is refused, nothing is rejected.

One bad record in 500 costs at most 18 requests besides the first: both halves of each of nine sizes.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from streams.contracts.journal import BatchState, Held
from streams.contracts.outcome import Reason, Status
from streams.lane.actions import Write
from streams.lane.batch import Batch, Phase
from streams.lane.doubt import end_unknown
from streams.lane.instant import Instant
from streams.lane.parts import NAMED_MAX
from streams.lane.settle import AMBIGUOUS, Final, same_for_all
from streams.lane.state import LaneState
from streams.lane.verdict import Split

# A limit on the size that a 413 has taught is tried beyond again after so long.
SIZE_KNOWN_S = 3600.0

# Where an answer names a record: ``call_records[3].ends_at``, ``call_records.3``, "record 3", "row #3".
_INDEX = re.compile(r"(?:records?|rows?|items?|index|entry)\W{0,3}(\d{1,3})(?!\d)", re.IGNORECASE)
_WORD = re.compile(r"[a-z_]+")

# The field of a record that an answer blames, in the names of all generations of the API.
_FIELDS = {
    **{name: name for name in ("caller", "receiver", "label_id", "label_name", "call_reason", "starts_at", "ends_at")},
    "caller_number": "caller",
    "receiver_number": "receiver",
    "dynamic_label_name": "label_name",
    "dynamic_call_reason": "call_reason",
}


def refused(lane: LaneState, batch: Batch, verdict: Split, now: Instant, write: Write) -> None:
    """The API refused a batch because of something in it: it is divided, or its only intent is rejected."""
    lane.backoff.succeed()
    held = batch.unsettled(lane.tools.packer)
    if verdict.too_large:
        lane.size_limit = max(1, len(held) // 2)
        lane.size_limit_until_s = now.boot_s + SIZE_KNOWN_S
    batch.entry = replace(batch.entry, state=BatchState.UNSENT, part_of=batch.entry.part_of or batch.ref)
    batch.again = False
    alone = len(held) == 1
    group = lane.parts.group(batch)
    suspects = 0 if group.accepted else lane.parts.suspects(lane.batches.values())
    everything = lane.breaker.refusal(now.boot_s, lane.tools.rng, alone=alone, suspects=suspects)
    if alone and not everything:
        _reject(lane, batch, verdict, write)
        return
    if alone:
        write.entries.append(batch.journaled())
        lane.retry_at(batch, now.boot_s)
        return
    lane.parts.forget_others(lane.batches.values())
    named, others = _divided(held, verdict, hints=group.hints)
    parts = _replace(lane, batch, (named, others), write)
    if len(named) <= NAMED_MAX < len(others):
        group.named.add(parts[0].ref)
    for part in parts:
        lane.retry_at(part, now.boot_s)


def single_out(lane: LaneState, batch: Batch, when_s: float, write: Write) -> Batch:
    """One intent of a batch that waits for its next attempt, any, as a batch of its own; the rest waits as before.

    The one is in no queue: the caller sends it.
    """
    lane.take_out(batch)
    held = batch.unsettled(lane.tools.packer)
    if len(held) == 1:
        return batch
    chosen = held.pop(lane.tools.rng.randrange(len(held)))
    one, rest = _replace(lane, batch, ([chosen], held), write)
    lane.retry_at(rest, when_s)
    return one


def _reject(lane: LaneState, batch: Batch, verdict: Split, write: Write) -> None:
    if batch.entry.possible_duplicate:
        end_unknown(lane, batch, Final(Status.UNKNOWN, AMBIGUOUS), write)
        return
    held = batch.unsettled(lane.tools.packer)
    lane.pass_on(batch, held)
    where = f"{verdict.field}: " if verdict.field else ""
    reason = Reason("api_rejected", f"{verdict.code}: {where}{verdict.message or 'the API refused the record'}")
    write.dead.extend((one, reason) for one in held)
    lane.end(batch, [same_for_all(batch, held, Final(Status.REJECTED, reason))], write)


def _replace(lane: LaneState, batch: Batch, parts: Sequence[Sequence[Held]], write: Write) -> list[Batch]:
    """Put these parts in the place of a batch: between them they have all of its unsettled intents."""
    write.entries.extend(batch.forgotten())
    del lane.batches[batch.ref]
    # Indices are those of the new content, which none of the earlier attempts left out any of.
    attempts = tuple(replace(attempt, left_out=()) for attempt in batch.entry.attempts)
    made = []
    for held in parts:
        entry = replace(batch.entry, records=len(held), settled=(), attempts=attempts)
        part = Batch(lane.tools.new_ref(), entry, lane.tools.packer.pack(held), Phase.RETRY, held, again=batch.again)
        lane.batches[part.ref] = part
        write.entries.extend((part.journaled_content(), part.journaled()))
        made.append(part)
    return made


def _divided(held: list[Held], verdict: Split, *, hints: bool) -> tuple[list[Held], list[Held]]:
    """Two parts, neither empty: the record that the answer names and the rest, else halves, by the field it blames."""
    named = _named(verdict) if hints and not verdict.too_large else None
    if named is not None and named <= len(held) and len(held) > 2 * NAMED_MAX:
        first = max(0, named - 1)
        last = min(named + 1, len(held))
        return held[first:last], held[:first] + held[last:]
    if field := _blamed(verdict):
        # Records with the same bad value come to lie together, so that fewer parts hold one.
        held = sorted(held, key=lambda one: _value(one, field))
    middle = len(held) // 2
    return held[:middle], held[middle:]


def _named(verdict: Split) -> int | None:
    match = _INDEX.search(verdict.field or "") or _INDEX.search(verdict.message or "")
    return int(match[1]) if match else None


def _blamed(verdict: Split) -> str | None:
    words = [*_WORD.findall((verdict.field or "").lower())[::-1], *_WORD.findall((verdict.message or "").lower())]
    return next((_FIELDS[word] for word in words if word in _FIELDS), None)


def _value(one: Held, field: str) -> tuple[bool, str | int]:
    value = getattr(one.row, field)
    return value is not None, "" if value is None else value
