"""The requests of a simulated worker: when they leave, and what becomes of their answers, as in the real shell."""

from collections.abc import Callable
from typing import Protocol

from streams.lane import answers, listing
from streams.lane.actions import Check, ListLabels, Mint, Post, Write
from streams.lane.batch import Phase
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.verdict import CheckVerdict, LabelsVerdict, PostVerdict, RetryLater, TokenVerdict, verdict_name
from tests.lane.simulation.audit import demand
from tests.lane.simulation.committer import Committer
from tests.lane.simulation.surroundings import Surroundings
from tests.lane.simulation.virtual_time import Process

Request = Post | Check | Mint | ListLabels


Verdict = PostVerdict | CheckVerdict | TokenVerdict | LabelsVerdict


class Shell(Protocol):
    """The worker whose requests these are."""

    name: str
    alive: bool
    draining: bool
    lanes: dict[str, Lane]
    process: Process

    def now(self) -> Instant: ...
    def note(self, line: str) -> None: ...
    def submit(self, account_id: str, write: Write) -> None: ...
    def finished(self, account_id: str, write: Write) -> None: ...


class Requests:
    """``running`` have been asked for and have not ended, whether or not they have left."""

    def __init__(self, worker: Shell, world: Surroundings, committer: Committer) -> None:
        self.running = 0
        self._worker = worker
        self._world = world
        self._committer = committer
        self._unconfirmed: list[tuple[Callable[[], None], str, Request]] = []

    def ask(self, account_id: str, action: Request) -> None:
        """A lane wants this request."""
        match action:
            case Post():
                self._queue(lambda: self._post(account_id, action), account_id, action)
            case Check():
                self._queue(lambda: self._check(account_id, action), account_id, action)
            case Mint():
                self._queue(lambda: self._mint(account_id), account_id, action)
            case ListLabels():
                self._queue(lambda: self._labels(account_id, action), account_id, action)

    def _queue(self, leave: Callable[[], None], account_id: str, action: Request) -> None:
        """Let a request leave once a commit has confirmed the lease lately."""
        self.running += 1
        self._unconfirmed.append((leave, account_id, action))
        self.confirm()

    def confirm(self) -> None:
        """See whether what waits may leave."""
        if self._worker.draining:
            waiting, self._unconfirmed = self._unconfirmed, []
            for _, account_id, action in waiting:
                self._finish(account_id, self._unmade(account_id, action))
        elif self._committer.fresh:
            waiting, self._unconfirmed = self._unconfirmed, []
            for leave, _, _ in waiting:
                leave()
        elif self._unconfirmed and self._committer.quiet:
            self._worker.submit("", Write())

    def _unmade(self, account_id: str, action: Request) -> Write:
        lane = self._worker.lanes[account_id]
        self._world.audit.seen["requests not made"] += 1
        match action:
            case Post():
                return lane.not_sent(lane.batches[action.batch_ref], self._worker.now())
            case Check():
                return lane.not_checked(lane.batches[action.batch_ref], self._worker.now())
            case Mint():
                return answers.minted(lane, RetryLater("not made"), self._worker.now().wall_ms, self._worker.now())
            case ListLabels():
                return listing.not_made(lane, action)

    def _labels(self, account_id: str, action: ListLabels) -> None:
        worker = self._worker
        sent_ms = worker.now().wall_ms
        worker.note(f"{account_id} LABELS {action.page}")
        self._world.audit.leaves(worker.name)

        def listed(verdict: LabelsVerdict) -> None:
            if self._answered(account_id, action, verdict):
                self._finish(
                    account_id, listing.listed(worker.lanes[account_id], action, verdict, sent_ms, worker.now())
                )

        api = self._world.api
        api.labels(account_id, action.token.secret, action.page, lambda v: worker.process.enter(lambda: listed(v)))

    def _check(self, account_id: str, action: Check) -> None:
        worker = self._worker
        sent_ms = worker.now().wall_ms
        worker.note(f"{account_id} CHECK {action.batch_ref}")
        self._world.audit.leaves(worker.name)

        def checked(verdict: CheckVerdict) -> None:
            if self._answered(account_id, action, verdict):
                write = answers.checked(worker.lanes[account_id], action.batch_ref, verdict, sent_ms, worker.now())
                self._finish(account_id, write)

        api = self._world.api
        api.check(account_id, action.token.secret, action.batch_id, lambda v: worker.process.enter(lambda: checked(v)))

    def _mint(self, account_id: str) -> None:
        worker = self._worker
        sent_ms = worker.now().wall_ms
        worker.note(f"{account_id} MINT")
        self._world.audit.leaves(worker.name)

        def minted(verdict: TokenVerdict) -> None:
            if self._answered(account_id, Mint(), verdict):
                self._finish(account_id, answers.minted(worker.lanes[account_id], verdict, sent_ms, worker.now()))

        self._world.api.mint(account_id, lambda verdict: worker.process.enter(lambda: minted(verdict)))

    def _post(self, account_id: str, action: Post) -> None:
        worker = self._worker
        audit = self._world.audit
        sent_ms = worker.now().wall_ms
        lane = worker.lanes[account_id]
        if not lane.may_leave(lane.batches[action.batch_ref], worker.now()):
            self._finish(account_id, self._unmade(account_id, action))
            return
        numbers = [one.row.source_offset for one in action.held]
        worker.note(f"{account_id} POST {action.batch_ref} {numbers} {action.token.ordinal}")
        alone = sum(batch.phase is Phase.POST for batch in lane.batches.values()) == 1
        if lane.breaker.cause is not None:
            one = len(action.held) == 1
            demand(one, "a breaker that is not closed lets one intent out at a time", (lane.breaker, len(numbers)))
            audit.seen[f"probe {lane.breaker.cause}"] += 1
        entry = lane.batches[action.batch_ref].entry
        audit.posted(worker.name, account_id, action.batch_ref, entry, action.held, alone=alone)

        def posted(verdict: PostVerdict) -> None:
            if self._answered(account_id, action, verdict):
                audit.told(worker.name, account_id, action.batch_ref, action.held, verdict_name(verdict))
                batches = set(lane.batches)
                write = answers.posted(lane, action.batch_ref, verdict, sent_ms, worker.now())
                audit.seen["divided"] += len(lane.batches.keys() - batches) > 1
                if lane.breaker.openings:
                    audit.seen[f"breaker {lane.breaker.cause}"] += 1
                self._finish(account_id, write)

        def ended(verdict: PostVerdict) -> None:
            audit.done(action.held)
            worker.process.enter(lambda: posted(verdict))

        self._world.api.post(account_id, action.token.secret, action.held, ended)

    def _answered(self, account_id: str, request: Request, verdict: Verdict) -> bool:
        if not self._worker.alive:
            return False
        ref = request.batch_ref if isinstance(request, Post | Check) else ""
        self._worker.note(f"{account_id} {type(request).__name__} {ref} answered {verdict_name(verdict)}")
        self._world.audit.seen[type(verdict).__name__] += 1
        return True

    def _finish(self, account_id: str, write: Write) -> None:
        self.running -= 1
        self._worker.finished(account_id, write)
