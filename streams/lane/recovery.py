"""From the journal back to lanes: what a new owner of a partition starts from.

The fold is pure and order is all that matters: the last value of a key is the truth, a tombstone forgets it. What must
stay true: an attempt of a previous owner that may still be running, or may have been applied, is left alone until it
cannot be running any more, and is flagged before it is sent again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from streams.contracts.errors import UnreadableMessage
from streams.contracts.journal import (
    AccountEntry,
    BatchEntry,
    BatchState,
    CursorEntry,
    HeadEntry,
    JournalKey,
    StartedEntry,
    TokensEntry,
    decode_entry,
)
from streams.lane.actions import Write
from streams.lane.batch import Batch, Phase
from streams.lane.cursor import Cursor
from streams.lane.doubt import holds, suspect
from streams.lane.instant import Instant
from streams.lane.lane import Lane

# The POST deadline is 30 s, a revocation waits 35 s: from then on no POST of a previous owner can be running.
FOREIGN_POST_S = 35.0

# Status checks of batches that were accepted long ago are spread over this, not sent in one burst.
CHECKS_SPREAD_S = 10.0


@dataclass(slots=True)
class AccountState:
    """What the journal holds of one account."""

    cursor: CursorEntry | None = None
    tokens: TokensEntry | None = None
    paused: AccountEntry | None = None
    batches: dict[str, tuple[BatchEntry, bytes]] = field(default_factory=dict)
    carries: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class JournalFold:
    """The state of one journal partition, message by message."""

    head: HeadEntry | None = None
    started: StartedEntry | None = None
    _cursors: dict[str, CursorEntry] = field(default_factory=dict)
    _tokens: dict[str, TokensEntry] = field(default_factory=dict)
    _paused: dict[str, AccountEntry] = field(default_factory=dict)
    _batches: dict[str, BatchEntry] = field(default_factory=dict)
    _contents: dict[str, bytes] = field(default_factory=dict)
    _carries: dict[str, bytes] = field(default_factory=dict)

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Apply the next message.

        Raises:
            UnreadableMessage: A kind or version that this release does not know; skipping it could lose intents.
        """
        parsed = JournalKey.parse(key)
        if value is None:
            self._forget(parsed)
        elif parsed.kind == "intents":
            self._contents[parsed.name] = value
        elif parsed.kind == "carry":
            self._carries[parsed.name] = value
        else:
            match decode_entry(parsed, value):
                case BatchEntry() as entry:
                    self._batches[parsed.name] = entry
                case CursorEntry() as entry:
                    self._cursors[parsed.name] = entry
                case TokensEntry() as entry:
                    self._tokens[parsed.name] = entry
                case AccountEntry() as entry:
                    self._paused[parsed.name] = entry
                case HeadEntry() as entry:
                    self.head = entry
                case StartedEntry() as entry:
                    self.started = entry

    def _forget(self, key: JournalKey) -> None:
        stores: dict[str, dict[str, Any]] = {
            "batch": self._batches,
            "intents": self._contents,
            "carry": self._carries,
            "cursor": self._cursors,
            "tokens": self._tokens,
            "account": self._paused,
        }
        stores.get(key.kind, {}).pop(key.name, None)

    def accounts(self) -> Iterator[tuple[str, AccountState]]:
        """Each account in the journal with its state.

        Raises:
            UnreadableMessage: A batch without its intents, a carry without a number: the journal is damaged.
        """
        states: dict[str, AccountState] = {}
        for account_id, cursor in self._cursors.items():
            states.setdefault(account_id, AccountState()).cursor = cursor
        for account_id, tokens in self._tokens.items():
            states.setdefault(account_id, AccountState()).tokens = tokens
        for account_id, paused in self._paused.items():
            states.setdefault(account_id, AccountState()).paused = paused
        for ref, entry in self._batches.items():
            if ref not in self._contents:
                raise UnreadableMessage("journal", f"batch {ref} has no intents")
            states.setdefault(entry.account_id, AccountState()).batches[ref] = (entry, self._contents[ref])
        for name, packed in self._carries.items():
            account_id, _, number = name.rpartition("/")
            if not number.isdecimal():
                raise UnreadableMessage("journal", "a carry without a number")
            states.setdefault(account_id, AccountState()).carries[int(number)] = packed
        yield from states.items()


def restore(lane: Lane, state: AccountState, now: Instant) -> Write:
    """Put what the journal holds of an account into its new, empty lane. ``now`` is the time of the assignment.

    Returns what to write before the lane goes on: the flags of attempts that may have been applied, and that released
    tokens are in use again. The lane asks for no request before that is durable, where it wants to be told.
    """
    write = Write()
    lane.cursor = Cursor(state.cursor)
    lane.paused = state.paused is not None
    if state.tokens is not None:
        lane.tokens.restore(state.tokens, now)
        if state.tokens.released:
            # From now on the use of these tokens is ours, and no longer exactly what the journal says.
            write.entries.append(lane.journaled_tokens(now))
            lane.await_take_over(write)
    for ref, (entry, packed) in sorted(state.batches.items()):
        batch = Batch(ref, entry, packed, Phase.RETRY)
        lane.batches[ref] = batch
        _resume(lane, batch, now, write)
    for number, packed in state.carries.items():
        lane.carry.restore(number, lane.tools.packer.unpack(packed))
    # After the batches: what is carried may wait for a predecessor in one of them, and is itself ahead of all parcels.
    lane.window.add(lane.carry.waiting(), now.boot_s)
    return write


def _resume(lane: Lane, batch: Batch, now: Instant, write: Write) -> None:
    if batch.entry.state is BatchState.ACCEPTED:
        lane.checks.accepted(batch, now)
        lane.checks.at(batch, now.boot_s + lane.tools.rng.uniform(0, CHECKS_SPREAD_S))
        return
    batch.held = batch.unpacked(lane.tools.packer)
    if not batch.passed_on:
        lane.window.travelling(batch.unsettled(lane.tools.packer))
    batch.again = batch.entry.state is BatchState.AMBIGUOUS
    lane.one_at_a_time |= batch.entry.possible_duplicate or batch.entry.state is BatchState.OPEN
    match batch.entry.state:
        case BatchState.UNSENT:
            lane.retry_at(batch, now.boot_s)
        case BatchState.AMBIGUOUS if holds(batch.entry.policy):
            lane.hold(batch, now.boot_s)
        case BatchState.AMBIGUOUS:
            lane.retry_at(batch, now.boot_s + FOREIGN_POST_S)
        case BatchState.OPEN if holds(batch.entry.policy):
            # Nobody may decide about it, and none of its pairs' next may go, while its POST may still be running.
            lane.hold(batch, now.boot_s + FOREIGN_POST_S)
        case BatchState.OPEN:
            suspect(lane, batch, now.boot_s + FOREIGN_POST_S, write)
        case BatchState.SPLIT:
            raise UnreadableMessage("journal", f"batch {batch.ref} was split by a newer release")


def hand_over(lane: Lane, now: Instant) -> Write:
    """What to write when the lane is given up in order, with no request running any more.

    Batches whose attempt was journaled but not made are marked unsent, and the tokens released with their exact use.
    """
    write = Write()
    for batch in lane.batches.values():
        if batch.phase is Phase.JOURNAL:
            write.entries.extend(lane.not_sent(batch, now).entries)
    write.entries.append(lane.journaled_tokens(now, released=True))
    return write
