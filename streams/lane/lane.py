"""One account: its window, tokens, open batches, and what to do next.

A lane is told the time and what happened, and answers with actions. It decides; the shell acts. The order that keeps
the promises: a batch and its cursor are journaled in one write; its POST is asked for only once that write is durable;
the outcomes of an answer, its journal entry and its request record are one write again. So at any crash each intent is
in exactly one of: a parcel at an untaken place, an open batch in the journal, a final outcome.
"""

import math

from streams.contracts.journal import BatchEntry, BatchState, Held
from streams.contracts.outcome import Status
from streams.lane.actions import Action, Check, Mint, Outcomes, Post, Write
from streams.lane.batch import Batch, Phase
from streams.lane.doubt import overdue_at, settle_overdue
from streams.lane.instant import Instant
from streams.lane.settle import EXPIRED, NOT_CHECKED, TIMEOUT, Final, same_for_all
from streams.lane.state import LaneState
from streams.lane.tokens import Token

# A fifth of a minute's slots: below, requests are too scarce to be spent on small batches.
SCARCE_SHARE = 0.2

# An intent whose effective deadline is nearer than this no longer waits for company.
URGENT_MS = 1000

# Where a cursor is too ragged, so many batches are filled in the order of places: finding them costs a look at all.
HASTENED_BATCHES = 20

# Expired intents leave the window this often at most, and rarer where it is so long that looking through it costs.
SWEEP_S = 1.0
SWEEP_INTENTS_PER_S = 20_000


class Lane(LaneState):
    """Decides what an account does next, when something happened to it or its time has come."""

    # -- what it wants

    def step(self, now: Instant) -> list[Action]:
        """All that should be done now, in order."""
        actions: list[Action] = []
        self._sweep(now, actions)
        actions.extend(Mint() if ref is None else self._post(self.batches[ref], now) for ref in self._durable)
        self._durable.clear()
        actions.extend(settle_overdue(self, now))
        actions.extend(self._unchecked(batch) for batch in self.checks.given_up(now))
        if self._mint_at(now) <= now.boot_s:
            self.tokens.start_mint(now)
            actions.append(self._awaited_write(Write(entries=[self.journaled_tokens(now)]), None))
        while self._may_request(now) and (action := self._next_request(now, actions)):
            actions.append(action)
        return actions

    def wake_at(self, now: Instant) -> float:
        """The ``boot_s`` of the next :meth:`step` if nothing happens before; infinity if only an event can help."""
        times = [self.checks.give_up_at, overdue_at(self, now), self._mint_at(now)]
        if self.window:
            times.append(max(self._sweep_at_s, now.boot_of(self.window.ends_first_ms - self.options.expiry_margin_ms)))
        if self._wants_requests and not self._take_over_serial:
            earliest = max(self._wanted_at(now), self.hold_until_s)
            ready = min((t.pace.ready_at(now.boot_s) for t in self.tokens.usable(now)), default=float("inf"))
            times.append(max(earliest, ready))
        return min(times)

    def _may_request(self, now: Instant) -> bool:
        return not self._take_over_serial and now.boot_s >= self.hold_until_s

    @property
    def _wants_requests(self) -> bool:
        return bool(self.window) or len(self.batches) > len(self.held)

    def _mint_at(self, now: Instant) -> float:
        if self.paused or self.options.blocked or not self._wants_requests:
            return float("inf")
        return self.tokens.mint_at(now)

    def _wanted_at(self, now: Instant) -> float:
        wanted_at_s = self.checks.next_at
        if self._may_post():
            wanted_at_s = min(wanted_at_s, self.retries.first_at())
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

    # -- requests

    def _next_request(self, now: Instant, actions: list[Action]) -> Action | None:
        tokens = [token for token in self.tokens.usable(now) if token.pace.ready_at(now.boot_s) <= now.boot_s]
        if not tokens:
            return None
        token = max(tokens, key=lambda candidate: candidate.pace.free(now.boot_s))
        if self._checks_first and (check := self._due_check(now, token)):
            return check
        if self._may_post() and (write := self._due_retry(now, token) or self._next_batch(now, token, actions)):
            return write
        return self._due_check(now, token)

    def _may_post(self) -> bool:
        if self.paused or len(self.held) >= self.options.open_batches_max:
            return False
        return self._posting < (1 if self.one_at_a_time else self.options.in_flight_max_per_token)

    @property
    def _crowded(self) -> bool:
        return len(self.batches) - len(self.held) >= self.options.open_batches_max

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
        if not self.window.sendable or max(self._room_at(), self._window_ready_at(now)) > now.boot_s:
            return None
        self._make_room(now, actions)
        return self._close(self.options.records_max, now, token, actions)

    def _close(self, records_max: int, now: Instant, token: Token, actions: list[Action]) -> Write | None:
        """Close a batch from the window and journal it; its POST follows once that is durable."""
        self._hasten()
        held = self._still_wanted(self.window.take(records_max), now, actions)
        if not held:
            return None
        entry = BatchEntry(self.options.account_id, BatchState.UNSENT, len(held), self.options.policy)
        batch = Batch(self.tools.new_ref(), entry, self.tools.packer.pack(held), Phase.JOURNAL, held)
        self.batches[batch.ref] = batch
        write = Write(entries=[batch.journaled_content()])
        self._take(held, write)
        return self._open(batch, token, write, now)

    def _hasten(self) -> None:
        """Let those leave first whose places cost the most to remember."""
        count = HASTENED_BATCHES * self.options.records_max
        if self.cursor.runs() > self.options.cursor_runs_max // 2:
            self.window.hasten_oldest(count)
        elif self.carry:
            self.window.hasten(self.carry.oldest(count))

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
        if token is None or not self.may_leave(batch, now):
            return self.not_sent(batch, now)
        batch.phase = Phase.POST
        return Post(batch.ref, token, batch.unsettled(self.tools.packer))

    def may_leave(self, batch: Batch, now: Instant) -> bool:
        """Whether a POST that was decided on a while ago may still leave.

        Its attempt had to be journaled, and its lease confirmed. Meanwhile the answer to another request may have asked
        for a pause, for a new token, or for one POST at a time, an operator may have paused the account, and a call may
        be over. What does not leave is unsent, and decided on anew.
        """
        token = self.tokens.find(batch.token)
        if token is None or self.paused or now.boot_s < max(self.hold_until_s, token.pace.held_until_s):
            return False
        others = (other for other in self.batches.values() if other is not batch)
        if self.one_at_a_time and any(other.phase is Phase.POST for other in others):
            return False
        return batch.ends_first_ms(self.tools.packer) > now.wall_ms

    def _due_retry(self, now: Instant, token: Token) -> Write | None:
        batch = self.retries.pop(now.boot_s)
        return None if batch is None else self._open(batch, token, Write(), now)

    def _due_check(self, now: Instant, token: Token) -> Check | None:
        batch = self.checks.start(now.boot_s)
        if batch is None:
            return None
        assert batch.entry.batch_id is not None, "a batch without a name is not checked"
        batch.token = token.ordinal
        token.pace.take(now.boot_s)
        return Check(batch.ref, batch.entry.batch_id, token)
