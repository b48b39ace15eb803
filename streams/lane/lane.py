"""One account: its window, tokens, open batches, and what to do next.

A lane is told the time and what happened, and answers with actions. It decides; the shell acts. The order that keeps
the promises: a batch and its cursor are journaled in one write; its POST is asked for only once that write is durable;
the outcomes of an answer, its journal entry and its request record are one write again. So at any crash each intent is
in exactly one of: a parcel at an untaken place, an open batch in the journal, a final outcome.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from streams.contracts.journal import BatchEntry, BatchState, Held, JournalKey, Packer, Place, encode_entry
from streams.contracts.outcome import Status
from streams.contracts.parcel import Parcel
from streams.contracts.request import RequestKind, RequestRecord
from streams.lane.actions import Action, Check, Mint, Outcomes, Post, Write
from streams.lane.backoff import Backoff
from streams.lane.batch import Batch, Phase
from streams.lane.checking import Checks
from streams.lane.cursor import RUNS_MAX, Cursor
from streams.lane.due import Due
from streams.lane.instant import Instant
from streams.lane.options import LaneOptions
from streams.lane.settle import EXPIRED, NOT_CHECKED, TIMEOUT, Final, completed, same_for_all, unsendable
from streams.lane.tokens import Sealer, Token, Tokens
from streams.lane.window import Window

# A fifth of a minute's slots: below, requests are too scarce to be spent on small batches.
SCARCE_SHARE = 0.2

# An intent whose effective deadline is nearer than this no longer waits for company.
URGENT_MS = 1000

# Where a cursor is too ragged, so many batches are filled in the order of places: finding them costs a look at all.
HASTENED_BATCHES = 20

# Expired intents leave the window this often at most, and rarer where it is so long that looking through it costs.
SWEEP_S = 1.0
SWEEP_INTENTS_PER_S = 20_000


@dataclass(frozen=True, slots=True)
class Tools:
    """What a lane needs from outside, all of it deterministic under test: randomness, names, sealing, packing."""

    rng: random.Random
    new_ref: Callable[[], str]
    sealer: Sealer
    packer: Packer


class Lane:
    """Everything about one account in the process that owns it. See :mod:`streams.lane.answers` for the other half."""

    def __init__(self, options: LaneOptions, tools: Tools) -> None:
        self.options = options
        self.tools = tools
        self.window = Window(options.priority_offsets_ms)
        self.cursor = Cursor()
        self.tokens = Tokens(
            requests_per_minute=options.requests_per_minute_per_token,
            mints_per_30_min=options.token_mints_per_30_min,
            sealer=tools.sealer,
        )
        self.batches: dict[str, Batch] = {}
        self.checks = Checks(options.in_flight_max_per_token, options.status_deadline_s)
        self.backoff = Backoff(base_s=1.0, cap_s=60.0)
        self.hold_until_s = float("-inf")
        self.one_at_a_time = False
        self._sweep_at_s = float("-inf")
        self._serial = 0
        self._awaited: dict[int, str | None] = {}
        self._take_over_serial = 0
        self._durable: list[str | None] = []
        self._retries = Due()
        self._posting = 0

    # -- what happens to it

    def offer(self, offset: int, parcel: Parcel, now: Instant) -> int:
        """Take in the intents of a parcel that are not yet taken; returns how many those are."""
        indices = self.cursor.read(offset, len(parcel.rows))
        _, topic, partition, rows = parcel
        held = [Held(Place(offset, index), topic, partition, rows[index]) for index in indices]
        self.window.add(held, now.boot_s)
        return len(indices)

    def durable(self, serial: int) -> None:
        """A write that asked to be told is durable. Call :meth:`step` next."""
        ref = self._awaited.pop(serial)
        if serial == self._take_over_serial:
            self._take_over_serial = 0
        else:
            self._durable.append(ref)

    @property
    def full(self) -> bool:
        """Whether the lane should be given no more parcels for now."""
        return len(self.window) >= self.options.intents_max

    @property
    def window_since_s(self) -> float:
        """When the intent arrived that has waited longest (``boot_s``), else infinity."""
        return self.window.since_s

    @property
    def idle(self) -> bool:
        """Whether the lane holds nothing and waits for nothing."""
        return not self.window and not self.batches and not self._awaited

    # -- what it wants

    def step(self, now: Instant) -> list[Action]:
        """All that should be done now, in order."""
        actions: list[Action] = []
        self._sweep(now, actions)
        actions.extend(self._unchecked(batch) for batch in self.checks.given_up(now))
        actions.extend(Mint() if ref is None else self._post(self.batches[ref], now) for ref in self._durable)
        self._durable.clear()
        if self._wants_requests and self.tokens.mint_at(now) <= now.boot_s:
            self.tokens.start_mint(now)
            actions.append(self._awaited_write(Write(entries=[self.journaled_tokens(now)]), None))
        while self._may_request(now) and (action := self._next_request(now, actions)):
            actions.append(action)
        return actions

    def wake_at(self, now: Instant) -> float:
        """The ``boot_s`` of the next :meth:`step` if nothing happens before; infinity if only an event can help."""
        times = [self.checks.give_up_at]
        if self.window:
            times.append(max(self._sweep_at_s, now.boot_of(self.window.ends_first_ms - self.options.expiry_margin_ms)))
        if self._wants_requests:
            times.append(self.tokens.mint_at(now))
            if not self._take_over_serial:
                earliest = max(self._wanted_at(now), self.hold_until_s)
                ready = min((t.pace.ready_at(now.boot_s) for t in self.tokens.usable(now)), default=float("inf"))
                times.append(max(earliest, ready))
        return min(times)

    def _may_request(self, now: Instant) -> bool:
        return not self._take_over_serial and now.boot_s >= self.hold_until_s

    @property
    def _wants_requests(self) -> bool:
        return bool(self.window or self.batches)

    def _wanted_at(self, now: Instant) -> float:
        wanted_at_s = self.checks.next_at
        if self._may_post():
            wanted_at_s = min(wanted_at_s, self._retries.first_at())
            if self.window.sendable:
                wanted_at_s = min(wanted_at_s, max(self._room_at(), self._window_ready_at(now)))
        return wanted_at_s

    def _sweep(self, now: Instant, actions: list[Action]) -> None:
        if now.boot_s < self._sweep_at_s:
            return
        self._sweep_at_s = now.boot_s + max(SWEEP_S, len(self.window) / SWEEP_INTENTS_PER_S)
        if expired := self.window.expire(now.wall_ms + self.options.expiry_margin_ms):
            actions.append(self._expired(expired))

    def _expired(self, held: list[Held]) -> Write:
        write = Write(outcomes=[Outcomes(Status.EXPIRED, held, 0, reason=EXPIRED)])
        self._take(held, write)
        return write

    def _take(self, held: list[Held], write: Write) -> None:
        places = [one.place for one in held]
        self.cursor.take(places)
        write.taken.extend(places)
        write.entries.append((str(JournalKey("cursor", self.options.account_id)), encode_entry(self.cursor.entry())))

    # -- requests

    def _next_request(self, now: Instant, actions: list[Action]) -> Action | None:
        tokens = [token for token in self.tokens.usable(now) if token.pace.ready_at(now.boot_s) <= now.boot_s]
        if not tokens:
            return None
        token = max(tokens, key=lambda candidate: candidate.pace.free(now.boot_s))
        if self._checks_first and (check := self._due_check(now, token)):
            return check
        if self._may_post() and (
            write := self._due_retry(now, token, actions) or self._next_batch(now, token, actions)
        ):
            return write
        return self._due_check(now, token)

    def _may_post(self) -> bool:
        return self._posting < (1 if self.one_at_a_time else self.options.in_flight_max_per_token)

    @property
    def _crowded(self) -> bool:
        return len(self.batches) >= self.options.open_batches_max

    @property
    def _checks_first(self) -> bool:
        return self.options.statuses == "all" and self._crowded

    def _room_at(self) -> float:
        """When one more batch may be opened. Where checks are made as far as possible, an overdue one gives way."""
        if not self._crowded:
            return float("-inf")
        return self.checks.due.first_at() if self.options.statuses == "best_effort" else float("inf")

    def _make_room(self, now: Instant, actions: list[Action]) -> None:
        while self._crowded and (batch := self.checks.due.pop(now.boot_s)):
            actions.append(self._unchecked(batch))

    def _unchecked(self, batch: Batch) -> Write:
        write = Write()
        final = Final(Status.UNKNOWN, TIMEOUT if batch.checks else NOT_CHECKED)
        self.end(batch, [same_for_all(batch, batch.unsettled(self.tools.packer), final)], write)
        return write

    def _window_ready_at(self, now: Instant) -> float:
        """When the window should leave, provided there is a slot."""
        if self.window.sendable >= self.options.records_max:
            return now.boot_s
        deadline_ms = self.window.first_deadline_ms()
        assert deadline_ms is not None, "only asked while something is sendable"
        lingered = self.window.since_s + self.options.linger_ms / 1000
        return max(lingered, min(now.boot_of(deadline_ms - URGENT_MS), self._plenty_at(now)))

    def _plenty_at(self, now: Instant) -> float:
        """When requests are plentiful enough for a small batch; infinity if only an event can bring that about."""
        if self.checks.due.first_at() < now.boot_s:
            return float("inf")
        count = math.ceil(SCARCE_SHARE * self.options.requests_per_minute_per_token)
        return min((token.pace.free_at(count, now.boot_s) for token in self.tokens.usable(now)), default=float("inf"))

    def _next_batch(self, now: Instant, token: Token, actions: list[Action]) -> Write | None:
        """Close a batch from the window and journal it; its POST follows once that is durable."""
        if not self.window.sendable or max(self._room_at(), self._window_ready_at(now)) > now.boot_s:
            return None
        self._make_room(now, actions)
        if self.cursor.runs() > RUNS_MAX // 2:
            self.window.hasten_oldest(HASTENED_BATCHES * self.options.records_max)
        held = self._still_wanted(self.window.take(self.options.records_max), now, actions)
        if not held:
            return None
        entry = BatchEntry(self.options.account_id, BatchState.UNSENT, len(held), self.options.policy)
        batch = Batch(self.tools.new_ref(), entry, self.tools.packer.pack(held), Phase.JOURNAL, held)
        self.batches[batch.ref] = batch
        write = Write(entries=[batch.journaled_content()])
        self._take(held, write)
        return self._open(batch, token, write, now)

    def _still_wanted(self, taken: list[Held], now: Instant, actions: list[Action]) -> list[Held]:
        ends_by_ms = now.wall_ms + self.options.expiry_margin_ms
        expired = [one for one in taken if one.row.ends_at <= ends_by_ms]
        if not expired:
            return taken
        actions.append(self._expired(expired))
        self.window.settled(expired)
        return [one for one in taken if one.row.ends_at > ends_by_ms]

    def _open(self, batch: Batch, token: Token, write: Write, now: Instant) -> Write:
        batch.open_attempt(token.ordinal, now.wall_ms)
        token.pace.take(now.boot_s)
        self._posting += 1
        write.entries.append(batch.journaled())
        return self._awaited_write(write, batch.ref)

    def _post(self, batch: Batch, now: Instant) -> Post | Write:
        token = self.tokens.find(batch.token)
        # While the attempt was journaled, the answer to another request may have asked for a pause, or for a new token.
        if token is None or now.boot_s < max(self.hold_until_s, token.pace.held_until_s):
            return self.not_sent(batch, now)
        batch.phase = Phase.POST
        return Post(batch.ref, token, batch.unsettled(self.tools.packer))

    def _due_retry(self, now: Instant, token: Token, actions: list[Action]) -> Write | None:
        while batch := self._retries.pop(now.boot_s):
            write = Write()
            self._leave_out_expired(batch, now, write)
            if batch.unsettled_count:
                return self._open(batch, token, write, now)
            self.end(batch, [], write)
            actions.append(write)
        return None

    def _leave_out_expired(self, batch: Batch, now: Instant, write: Write) -> None:
        ends_by_ms = now.wall_ms + self.options.expiry_margin_ms
        gone = batch.leave_out(lambda one: one.row.ends_at <= ends_by_ms, self.tools.packer)
        if gone:
            write.outcomes.append(same_for_all(batch, gone, unsendable(batch)))
            self.window.settled(gone)

    def _due_check(self, now: Instant, token: Token) -> Check | None:
        batch = self.checks.start(now.boot_s)
        if batch is None:
            return None
        assert batch.entry.batch_id is not None, "a batch without a name is not checked"
        batch.token = token.ordinal
        token.pace.take(now.boot_s)
        return Check(batch.ref, batch.entry.batch_id, token)

    # -- shared with the answers

    def not_sent(self, batch: Batch, now: Instant) -> Write:
        """A journaled attempt was not made: the batch may go again at once."""
        token = self.tokens.find(batch.token)
        if token is not None:
            token.pace.unsent()
        self._posting -= 1
        batch.entry = replace(batch.entry, state=BatchState.UNSENT)
        self.retry_at(batch, now.boot_s)
        return Write(entries=[batch.journaled()])

    def not_checked(self, batch: Batch, now: Instant) -> Write:
        """A status check was not made after all: it is due again at once."""
        token = self.tokens.find(batch.token)
        if token is not None:
            token.pace.unsent()
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
        used = None if token is None else self.tokens.find(token)
        if used is not None:
            used.pace.ended(now.boot_s)
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
        self._retries.add(batch, when_s)

    def end(self, batch: Batch, outcomes: list[Outcomes], write: Write) -> None:
        """These are the last outcomes of a batch: every intent in it is final, forget it."""
        write.outcomes.extend(outcomes)
        if batch.entry.accepted_at is not None:
            write.events.append(completed(batch, self.options.account_id, outcomes))
        write.entries.extend(batch.forgotten())
        del self.batches[batch.ref]
