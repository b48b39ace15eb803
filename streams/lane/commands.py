"""What an operator's command does to a lane.

A command may be read more than once, so what must stay true: applied again, at the same place or under the same id, it
changes nothing. Pausing and accepting are idempotent by nature; a batch remembers in its journal entry which command
had it sent again. Every command is answered in the same write.
"""

from collections.abc import Callable
from dataclasses import replace

from streams.contracts.batch_id import is_batch_id
from streams.contracts.command import Command, Result, Verb
from streams.contracts.journal import AccountEntry, BatchState, JournalKey, encode_entry
from streams.contracts.outcome import Status
from streams.lane.actions import Write
from streams.lane.answers import accept
from streams.lane.batch import Batch, Phase
from streams.lane.doubt import end_unknown, holds
from streams.lane.instant import Instant
from streams.lane.settle import GIVEN_UP, Final
from streams.lane.state import LaneState


def apply(lane: LaneState, command: Command, offset: int, now: Instant) -> tuple[Write, Result]:
    """Apply a command that was read at ``offset``; returns what to write, which includes the answer."""
    write = Write()
    match command.verb:
        case Verb.PAUSE | Verb.RESUME:
            result = _pause(lane, command, write)
        case Verb.ACCEPT | Verb.RESEND | Verb.GIVE_UP:
            result = _resolve(lane, command, offset, now, write)
        case _:
            result = Result.NOT_UNDERSTOOD
    write.entries.append(command.answer(result))
    return write, result


def _pause(lane: LaneState, command: Command, write: Write) -> Result:
    lane.paused = command.verb == Verb.PAUSE
    if not lane.paused:
        lane.breaker.resume()
        lane.hold_until_s = float("-inf") if lane.breaker.cause else lane.hold_until_s
    entry = AccountEntry(command.issued_at, command.by, command.id)
    key = str(JournalKey("account", lane.options.account_id))
    write.entries.append((key, encode_entry(entry) if lane.paused else None))
    return Result.APPLIED


def _resolve(lane: LaneState, command: Command, offset: int, now: Instant, write: Write) -> Result:
    batch = lane.batches.get(command.arguments.get("batch_ref", ""))
    if batch is None:
        return Result.NO_SUCH_BATCH
    if offset <= batch.entry.command_offset or command.id == batch.entry.command_id:
        return Result.ALREADY_APPLIED
    if not batch.in_doubt:
        return Result.NOT_IN_DOUBT
    return _DECISIONS[Verb(command.verb)](lane, batch, command, offset, now, write)


def _accept(lane: LaneState, batch: Batch, command: Command, offset: int, now: Instant, write: Write) -> Result:
    batch_id = command.arguments.get("batch_id", "")
    if not is_batch_id(batch_id):
        return Result.NOT_UNDERSTOOD
    _take_out(lane, batch, command, offset)
    accept(lane, batch, batch_id, now, write)
    return Result.APPLIED


def _resend(lane: LaneState, batch: Batch, command: Command, offset: int, now: Instant, write: Write) -> Result:
    if batch.phase is not Phase.HELD or not holds(batch.entry.policy):
        return Result.SENT_AGAIN_ANYWAY
    _take_out(lane, batch, command, offset)
    batch.entry = replace(batch.entry, state=BatchState.UNSENT)
    write.entries.append(batch.journaled())
    lane.retry_at(batch, now.boot_s)
    return Result.APPLIED


def _give_up(lane: LaneState, batch: Batch, command: Command, offset: int, _now: Instant, write: Write) -> Result:
    _take_out(lane, batch, command, offset)
    end_unknown(lane, batch, Final(Status.UNKNOWN, GIVEN_UP), write)
    return Result.APPLIED


def _take_out(lane: LaneState, batch: Batch, command: Command, offset: int) -> None:
    lane.take_out(batch)
    batch.entry = replace(batch.entry, command_id=command.id, command_offset=offset)


_Decision = Callable[[LaneState, Batch, Command, int, Instant, Write], Result]
_DECISIONS: dict[Verb, _Decision] = {Verb.ACCEPT: _accept, Verb.RESEND: _resend, Verb.GIVE_UP: _give_up}
