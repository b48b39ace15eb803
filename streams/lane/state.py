"""One account's lane as data, and the changes that its parts share.

:mod:`streams.lane.lane` decides what to do next, :mod:`streams.lane.answers` what an answer changes,
:mod:`streams.lane.doubt` what becomes of a batch whose fate is not known. All three work on what is here.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from streams.contracts.journal import BatchState, Held, JournalKey, Packer, Place, encode_entry
from streams.contracts.parcel import Parcel
from streams.contracts.request import RequestKind, RequestRecord
from streams.lane.actions import Outcomes, Write
from streams.lane.allowance import Allowance
from streams.lane.backoff import Backoff
from streams.lane.batch import Batch, Phase
from streams.lane.breaker import Breaker
from streams.lane.carry import Carry
from streams.lane.checking import Checks
from streams.lane.cursor import ENTRY_BYTES_MAX, Cursor
from streams.lane.due import Due
from streams.lane.instant import Instant
from streams.lane.labels import Labels
from streams.lane.options import LaneOptions
from streams.lane.parts import Parts
from streams.lane.retry_budget import RetryBudget
from streams.lane.settle import completed
from streams.lane.tokens import Sealer, Tokens
from streams.lane.window import Window


@dataclass(frozen=True, slots=True)
class Tools:
    """What a lane needs from outside, all of it deterministic under test: randomness, names, sealing, packing."""

    rng: random.Random
    new_ref: Callable[[], str]
    sealer: Sealer
    packer: Packer


class LaneState:
    """Everything about one account in the process that owns it.

    Its batches wait in one of four queues: ``checks`` (accepted), ``retries`` (their next attempt), ``parts`` (the
    same, but of a batch that was refused as a whole), ``held`` (nothing is sent for them: their fate is not known, or a
    previous owner may still be sending them). ``paused`` is an operator's word: nothing is submitted and no token is
    asked for. All parcels of the account below ``mark`` have been read; ``None`` is the live position, up to which
    everybody else has been read. Larger batches than ``size_limit`` were refused for their size.
    """

    def __init__(self, options: LaneOptions, tools: Tools) -> None:
        self.options = options
        self.tools = tools
        self.window = Window(options.priority_offsets_ms)
        self.cursor = Cursor()
        self.carry = Carry(options.account_id, tools.packer, options.carry_records_max)
        self.tokens = Tokens(
            requests_per_minute=options.requests_per_minute_per_token,
            mints_per_30_min=options.token_mints_per_30_min,
            tokens_max=options.tokens_max,
            sealer=tools.sealer,
        )
        self.retry_budget = RetryBudget()
        self.batches: dict[str, Batch] = {}
        self.checks = Checks(options.in_flight_max_per_token, options.status_deadline_s)
        self.retries = Due()
        self.parts = Parts()
        self.held = Due()
        self.open_batches_max = options.open_batches_max
        self.paused = False
        self.mark: int | None = None
        self.backoff = Backoff(base_s=1.0, cap_s=60.0)
        self.hold_until_s = float("-inf")
        self.one_at_a_time = False
        self.breaker = Breaker()
        self.labels = Labels(options.labels)
        self.size_limit = options.records_max
        self.size_limit_until_s = float("-inf")
        self.sweep_at_s = float("-inf")
        self.posted_s = self.requested_s = float("-inf")
        self.allowance = Allowance()
        self._serial = 0
        self._awaited: dict[int, str | None] = {}
        self._take_over_serial = 0
        self._durable: list[str | None] = []
        self._posting = 0

    # -- what happens to it

    def offer(self, offset: int, parcel: Parcel, now: Instant) -> int:
        """Take in the intents of a parcel that are not yet taken; returns how many those are."""
        _, topic, partition, rows = parcel
        indices = self.cursor.read(offset, len(rows), rows[0].recorded_at if rows else 0)
        held = [Held(Place(offset, index), topic, partition, rows[index]) for index in indices]
        self.window.add(held, now.boot_s)
        if self.labels.known is not None:
            self.labels.met([row.label_id for row in rows], now.boot_s)
        return len(indices)

    def durable(self, serial: int) -> None:
        """A write that asked to be told is durable. Call :meth:`step` next."""
        ref = self._awaited.pop(serial)
        if serial == self._take_over_serial:
            self._take_over_serial = 0
        else:
            self._durable.append(ref)

    @property
    def posts_running(self) -> int:
        """POSTs that were decided on and have not ended."""
        return self._posting

    @property
    def crowded(self) -> bool:
        """Whether there are as many open batches as there may be."""
        return len(self.batches) - len(self.held) >= self.open_batches_max

    def records_max(self, now: Instant) -> int:
        """The most intents that a batch may hold now."""
        limited = now.boot_s < self.size_limit_until_s
        return min(self.options.records_max, self.size_limit) if limited else self.options.records_max

    @property
    def window_since_s(self) -> float:
        """When the intent arrived that has waited longest (``boot_s``), else infinity."""
        return self.window.since_s

    @property
    def idle(self) -> bool:
        """Whether the lane holds nothing and waits for nothing."""
        return not self.window and not self.batches and not self._awaited

    def take(self, held: list[Held], write: Write) -> None:
        """These intents leave the window for good: this write says where they are from now on."""
        if self.carry:
            entries, held = self.carry.take(held)
            write.entries.extend(entries)
            if not held:
                return
        places = [one.place for one in held]
        self.cursor.take(places)
        write.taken.extend(places)
        self.journal_cursor(write)

    def journal_cursor(self, write: Write) -> None:
        """Write the cursor; where it would be too long, what waits at its low end is carried in the same write."""
        entry = self.cursor.entry()
        value = encode_entry(entry)
        runs = len(entry.taken)
        if runs > self.options.cursor_runs_max or len(value) > ENTRY_BYTES_MAX:
            kept = min(self.options.cursor_runs_max // 2, runs * ENTRY_BYTES_MAX // (2 * len(value)))
            self._carry_below(entry.taken[runs - kept - 1][0], write)
            value = encode_entry(self.cursor.entry())
        write.entries.append((str(JournalKey("cursor", self.options.account_id)), value))

    def _carry_below(self, place: Place, write: Write) -> None:
        waiting = [one for one in self.window.below(place) if one.place not in self.carry]
        write.entries.extend(self.carry.add(waiting))
        places = [one.place for one in waiting]
        self.cursor.take(places)
        write.taken.extend(places)

    # -- shared with the answers

    def not_sent(self, batch: Batch, now: Instant) -> Write:
        """A journaled attempt was not made: the batch may go again at once."""
        self.tokens.unsent(batch.token)
        self.retry_budget.unsent(again=batch.again)
        self._posting -= 1
        batch.entry = replace(batch.entry, state=BatchState.UNSENT)
        self.retry_at(batch, now.boot_s)
        return Write(entries=[batch.journaled()])

    def not_checked(self, batch: Batch, now: Instant) -> Write:
        """A status check was not made after all: it is due again at once."""
        self.tokens.unsent(batch.token)
        self.checks.running -= 1
        self.checks.at(batch, now.boot_s)
        return Write()

    def await_take_over(self, write: Write) -> None:
        """No request may leave before this write, the first of a new owner, is durable."""
        self._take_over_serial = self._awaited_write(write, None).serial

    def _awaited_write(self, write: Write, ref: str | None) -> Write:
        self._serial += 1
        write.serial = self._serial
        self._awaited[self._serial] = ref
        return write

    def journaled_tokens(self, now: Instant, *, released: bool = False) -> tuple[str, bytes | None]:
        """The journal entry of the tokens and mints."""
        entry = self.tokens.entry(now, released=released)
        return str(JournalKey("tokens", self.options.account_id)), encode_entry(entry)

    def request_ended(
        self, request: RequestKind, batch: Batch | None, token: int | None, sent_ms: int, now: Instant, verdict: str
    ) -> RequestRecord:
        """Free the slot of a request, and put it on record."""
        if token is not None:
            self.tokens.ended(token, now)
        if request == "post":
            self._posting -= 1
        elif request == "check":
            self.checks.running -= 1
        records = batch.unsettled_count if batch is not None and request == "post" else 0
        ref = batch.ref if batch is not None else None
        account_id = self.options.account_id
        return RequestRecord(account_id, request, token, sent_ms, now.wall_ms, verdict, ref, records)

    def retry_at(self, batch: Batch, when_s: float) -> None:
        """The next attempt of a batch, not before ``when_s``."""
        batch.phase = Phase.RETRY
        if batch.entry.part_of is None:
            self.retries.add(batch, when_s)
        else:
            self.parts.add(batch, when_s)

    def to_be_sent(self) -> Iterator[Batch]:
        """The batches that wait for their next attempt."""
        return itertools.chain(self.retries, self.parts.due)

    def take_out(self, batch: Batch) -> None:
        """A batch that waits for its next attempt, or for an operator, waits no more."""
        if batch.phase is Phase.HELD:
            self.held.remove(batch)
        elif batch.entry.part_of is None:
            self.retries.remove(batch)
        else:
            self.parts.due.remove(batch)

    def hold(self, batch: Batch, until_s: float) -> None:
        """Nothing is sent for a batch; it is looked at again at ``until_s``."""
        batch.phase = Phase.HELD
        self.held.add(batch, until_s)

    def pass_on(self, batch: Batch, held: Sequence[Held]) -> None:
        """Intents of a batch count as settled: the next of their pairs may go. Once they did, that changes nothing."""
        if not batch.passed_on:
            self.window.settled(held)

    def end(self, batch: Batch, outcomes: list[Outcomes], write: Write) -> None:
        """These are the last outcomes of a batch: every intent in it is final, forget it."""
        write.outcomes.extend(outcomes)
        if batch.entry.accepted_at is not None:
            write.events.append(completed(batch, self.options.account_id, outcomes))
        write.entries.extend(batch.forgotten())
        del self.batches[batch.ref]
