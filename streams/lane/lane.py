"""One account: its window, tokens, open batches, and what to do next.

A lane is told the time and what happened, and answers with actions. It decides; the shell acts. The order that keeps
the promises: a batch and its cursor are journaled in one write; its POST is asked for only once that write is durable;
the outcomes of an answer, its journal entry and its request record are one write again. So at any crash each intent is
in exactly one of: a parcel at an untaken place, an open batch in the journal, a final outcome.
"""

from streams.contracts.outcome import Status
from streams.lane import closing, pressure, probing, splitting
from streams.lane.actions import Action, Check, ListLabels, Mint, Post, Write
from streams.lane.batch import Batch, Phase
from streams.lane.doubt import overdue_at, settle_overdue
from streams.lane.due import Due
from streams.lane.instant import Instant
from streams.lane.settle import NOT_CHECKED, TIMEOUT, Final, same_for_all
from streams.lane.state import LaneState
from streams.lane.token import Token


class Lane(LaneState):
    """Decides what an account does next, when something happened to it or its time has come."""

    # -- what it wants

    def step(self, now: Instant) -> list[Action]:
        """All that should be done now, in order."""
        actions: list[Action] = [*closing.sweep(self, now)]
        self.checks.running_max = self._in_flight_max
        if self.options.statuses == "all":
            in_time = self.checks.in_time(self.tokens.learned_per_minute(now))
            self.open_batches_max = min(self.options.open_batches_max, in_time)
        actions.extend(Mint() if ref is None else self._post(self.batches[ref], now) for ref in self._durable)
        self._durable.clear()
        actions.extend(settle_overdue(self, now))
        actions.extend(self._unchecked(batch) for batch in self.checks.given_up(now))
        if self._mint_at(now) <= now.boot_s:
            self.tokens.start_mint(now)
            actions.append(self._awaited_write(Write(entries=[self.journaled_tokens(now)]), None))
        while self._may_request(now) and (action := self._next_request(now, actions)):
            actions.append(action)
        pressure.tell(self, now, in_flight=self._posting >= self._in_flight_max)
        return actions

    def wake_at(self, now: Instant) -> float:
        """The ``boot_s`` of the next :meth:`step` if nothing happens before; infinity if only an event can help."""
        times = [self.checks.give_up_at, overdue_at(self, now), self._mint_at(now)]
        if self.window:
            times.append(closing.sweep_at(self, now))
        if self._wants_requests and not self._take_over_serial:
            earliest = max(self._wanted_at(now), self.hold_until_s)
            times.append(max(earliest, self.tokens.ready_at(now)))
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
        if self.breaker.cause is not None:
            return probing.wanted_at(self)
        wanted_at_s = closing.check_at(self, now)
        if self._may_post():
            wanted_at_s = min(wanted_at_s, self.retries.first_at(), closing.part_at(self, now))
            if self.window.sendable:
                wanted_at_s = min(wanted_at_s, max(self._room_at(), closing.ready_at(self, now)))
        return min(wanted_at_s, self._labels_at())

    # -- requests

    def _next_request(self, now: Instant, actions: list[Action]) -> Action | None:
        token = self.tokens.best(now)
        if token is None:
            return None
        if self.breaker.cause is not None:
            return self._probe(now, token, actions)
        check_now = closing.check_at(self, now) <= now.boot_s
        if self._labels_at() <= now.boot_s:
            return self._list_labels(token, now)
        if self._checks_first and check_now:
            return self._due_check(now, token)
        if self._may_post() and (write := self._next_post(now, token, actions)):
            return write
        return self._due_check(now, token) if check_now else None

    def _next_post(self, now: Instant, token: Token, actions: list[Action]) -> Write | None:
        if write := self._due_retry(self.retries, now, token):
            return write
        part_now = closing.part_at(self, now) <= now.boot_s
        if part_now and not self.parts.yields and (write := self._due_retry(self.parts.due, now, token)):
            return write
        if write := self._next_batch(now, token, actions):
            return write
        return self._due_retry(self.parts.due, now, token) if part_now else None

    def _probe(self, now: Instant, token: Token, actions: list[Action]) -> Action | None:
        match probing.choose(self, now):
            case probing.Probe.CHECK:
                return self._due_check(now, token)
            case probing.Probe.FRESH:
                return self._close(1, now, token, actions)
            case Batch() as batch if batch.again and not self.retry_budget.allows(now.boot_s):
                self.breaker.until_s = self.retry_budget.ask_again_at(now.boot_s)
                # A status check may be due besides, and is not to wait for another step.
                return self._probe(now, token, actions)
            case Batch() as batch:
                write = Write()
                return self._open(splitting.single_out(self, batch, now.boot_s, write), write, token, now)
        return None

    def _may_post(self) -> bool:
        if self.paused or len(self.held) >= self.options.open_batches_max:
            return False
        return self._posting < (1 if self.one_at_a_time else self._in_flight_max)

    @property
    def _in_flight_max(self) -> int:
        return self.options.in_flight_max_per_token * max(1, self.tokens.in_use)

    @property
    def _checks_first(self) -> bool:
        return self.options.statuses == "all" and self.crowded

    def _room_at(self) -> float:
        """When one more batch may be opened. Where checks are made as far as possible, an overdue one gives way."""
        if self.labels.awaited:
            return float("inf")
        if not self.crowded:
            return float("-inf")
        return self.checks.due.first_at() if self.options.statuses == "best_effort" else float("inf")

    def _labels_at(self) -> float:
        """When a page of the account's labels should be asked for: only for intents that wait."""
        return self.labels.due_at if self.window and not self.paused else float("inf")

    def _list_labels(self, token: Token, now: Instant) -> ListLabels:
        self.tokens.take(token, now)
        self.tokens.minting.demand.add(1.0, now.boot_s)
        self.requested_s = now.boot_s
        return ListLabels(self.labels.start(now.boot_s), token)

    def _make_room(self, now: Instant, actions: list[Action]) -> None:
        while self.crowded and (batch := self.checks.due.pop(now.boot_s)):
            actions.append(self._unchecked(batch))

    def _unchecked(self, batch: Batch) -> Write:
        write = Write()
        final = Final(Status.UNKNOWN, TIMEOUT if batch.checks else NOT_CHECKED)
        self.end(batch, [same_for_all(batch, batch.unsettled(self.tools.packer), final)], write)
        return write

    def _next_batch(self, now: Instant, token: Token, actions: list[Action]) -> Write | None:
        if not self.window.sendable or max(self._room_at(), closing.ready_at(self, now)) > now.boot_s:
            return None
        self._make_room(now, actions)
        return self._close(self.records_max(now), now, token, actions)

    def _close(self, records_max: int, now: Instant, token: Token, actions: list[Action]) -> Write | None:
        """Close a batch from the window and journal it; its POST follows once that is durable."""
        closed = closing.close(self, records_max, now, actions)
        return None if closed is None else self._open(*closed, token, now)

    def _open(self, batch: Batch, write: Write, token: Token, now: Instant) -> Write:
        self.parts.counted(batch)
        batch.open_attempt(token.ordinal, now.wall_ms)
        self.tokens.take(token, now)
        self.tokens.minting.demand.add(pressure.worth(self, batch), now.boot_s)
        self.retry_budget.sent(now.boot_s, again=batch.again)
        closing.left(self, now)
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
        if self.breaker.cause is not None and batch.unsettled_count > 1:
            return False
        others = (other for other in self.batches.values() if other is not batch)
        if self.one_at_a_time and any(other.phase is Phase.POST for other in others):
            return False
        return batch.ends_first_ms(self.tools.packer) > now.wall_ms

    def _due_retry(self, queue: Due, now: Instant, token: Token) -> Write | None:
        while (batch := queue.pop(now.boot_s)) is not None:
            if not batch.again or self.retry_budget.allows(now.boot_s):
                return self._open(batch, Write(), token, now)
            queue.add(batch, self.retry_budget.ask_again_at(now.boot_s))
        return None

    def _due_check(self, now: Instant, token: Token) -> Check | None:
        batch = self.checks.start(now.boot_s)
        if batch is None:
            return None
        self.requested_s = now.boot_s
        assert batch.entry.batch_id is not None, "a batch without a name is not checked"
        batch.token = token.ordinal
        self.tokens.take(token, now)
        self.tokens.minting.demand.add(1.0, now.boot_s)
        return Check(batch.ref, batch.entry.batch_id, token)
