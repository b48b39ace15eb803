"""What people see of the lanes: metrics and log events. Nothing here changes what happens."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from streams.contracts.command import Command, Result
from streams.contracts.journal import BatchState
from streams.contracts.outcome import Status
from streams.contracts.request import RequestKind
from streams.lane.actions import Outcomes, Write
from streams.lane.breaker import BreakerState, Cause
from streams.lane.instant import Instant
from streams.lane.verdict import (
    Accepted,
    CheckVerdict,
    LabelsVerdict,
    Listed,
    Minted,
    PostVerdict,
    Split,
    Statuses,
    TokenVerdict,
    verdict_name,
)
from streams.telemetry.metrics import REJECTED, Metrics
from streams.worker.owned import OwnedLane, OwnedPartition
from streams.worker.token_sample import TokenSample

log = structlog.stdlib.get_logger(__name__)

Verdict = PostVerdict | CheckVerdict | TokenVerdict | LabelsVerdict

_REMEDIES = {
    Cause.FAILING: "it is tried again by itself; if it lasts, see whether the API can be reached",
    Cause.UNTRACKED: "the API names no batches, so their statuses cannot be asked for; ask the vendor",
    Cause.FORBIDDEN: "the account may not do this: see its contract, its key and its labels",
    Cause.REFUSED: "all that is sent is refused: has the API changed, or the dialer? then `callstream accounts resume`",
}

_FINAL = (Status.DELIVERED, Status.FAILED, Status.UNKNOWN)


@dataclass(eq=False, slots=True)
class LaneObserver:
    """Counts and logs what lanes do."""

    metrics: Metrics
    _status_counters: dict[Status, Callable[[float], None]] = field(init=False)

    def __post_init__(self) -> None:
        self._status_counters = {status: self.metrics.outcomes.labels(status).inc for status in Status}

    def written(self, owned: OwnedLane, write: Write, now: Instant) -> None:
        """A lane's write is about to be submitted."""
        for group in write.outcomes:
            self._status_counters[group.status](len(group.held))
            if group.status is Status.ACCEPTED:
                self._accepted(group, now)
            elif group.status in _FINAL:
                self._final(owned, group, now)
            elif group.status is Status.UNRESOLVED:
                log.warning(
                    "batch_unresolved",
                    account_id=owned.account_id,
                    batch_ref=group.batch_ref,
                    records=len(group.held),
                    remedy="find out whether the API took it, then `callstream batches resolve`",
                )
        if owned.lane.labels.news:
            self._unknown_labels(owned)
        if write.dead:
            self.metrics.dead_letters.labels(REJECTED).inc(len(write.dead))

    def _unknown_labels(self, owned: OwnedLane) -> None:
        labels = owned.lane.labels
        self.metrics.unknown_labels.inc(len(labels.news))
        for label_id in labels.news:
            log.warning(
                "label_unknown",
                account_id=owned.account_id,
                label_id=label_id,
                remedy="the account has no such dynamic label: create it in the console, or correct the dialer",
            )
        labels.news.clear()

    def _accepted(self, group: Outcomes, now: Instant) -> None:
        self.metrics.batch_records.observe(len(group.held))
        if group.possible_duplicate:
            self.metrics.possible_duplicates.inc(len(group.held))
        waits: dict[str, list[float]] = {}
        for held in group.held:
            waits.setdefault(held.row.priority, []).append((now.wall_ms - held.row.recorded_at) / 1000)
        for priority, seconds in waits.items():
            self.metrics.intent_accept_seconds.labels(priority).observe_many(seconds)

    def _final(self, owned: OwnedLane, group: Outcomes, now: Instant) -> None:
        batch = owned.lane.batches.get(group.batch_ref or "")
        accepted_at = batch.entry.accepted_at if batch else None
        if accepted_at is not None:
            final_seconds = self.metrics.intent_final_seconds.labels(group.status)
            final_seconds.observe((now.wall_ms - accepted_at) / 1000, len(group.held))

    def answered(self, kind: RequestKind, owned: OwnedLane, ref: str | None, verdict: Verdict, seconds: float) -> None:
        """A request of a lane was answered, or failed."""
        name = verdict_name(verdict)
        self.metrics.requests.labels(kind, name).inc()
        event = log.bind(account_id=owned.account_id, batch_ref=ref, seconds=round(seconds, 3))
        match verdict:
            case Accepted(batch_id):
                event.info("batch_accepted", batch_id=batch_id, records=owned.lane.batches[ref or ""].unsettled_count)
            case Statuses(records):
                event.debug("batch_checked", records=len(records))
            case Minted():
                event.info("token_minted")
            case Listed(label_ids):
                event.debug("labels_listed", labels=len(label_ids))
            case Split(code, at, _):
                event.warning("batch_refused", code=code, field=at)
            case _:
                event.warning(f"{kind}_{name}", cause=verdict.cause)

    def labels_read(self, owned: OwnedLane, failing: str | None) -> None:
        """The list of an account's labels was asked for; ``failing`` is how that had stood before."""
        cause = owned.lane.labels.failing
        if cause is not None and failing is None:
            log.warning(
                "labels_unread",
                account_id=owned.account_id,
                cause=cause,
                remedy="intents go out unchecked meanwhile; may the account's API key list its labels?",
            )
        elif cause is None and failing is not None:
            log.info("labels_read_again", account_id=owned.account_id)

    @contextmanager
    def breaker_watched(self, owned: OwnedLane, now: Instant) -> Iterator[None]:
        """Tell what an answer does to the account's breaker."""
        breaker = owned.lane.breaker
        cause, openings = breaker.cause, breaker.openings
        yield
        if openings and breaker.cause is None:
            log.info("breaker_closed", account_id=owned.account_id, cause=cause)
        elif breaker.cause is not None and breaker.openings > openings:
            self.metrics.breaker_openings.labels(breaker.cause).inc()
            log.warning(
                "breaker_opened",
                account_id=owned.account_id,
                cause=breaker.cause,
                times=breaker.openings,
                seconds=round(breaker.until_s - now.boot_s, 1),
                remedy=_REMEDIES[breaker.cause],
            )

    def commanded(self, command: Command, result: Result) -> None:
        """An operator's command was read, and this came of it."""
        log.info(
            "command_applied" if result is Result.APPLIED else "command_not_applied",
            account_id=command.account_id,
            verb=command.verb,
            batch_ref=command.arguments.get("batch_ref"),
            by=command.by,
            result=result,
        )

    def fell_behind(self, owned: OwnedLane) -> None:
        """An account is no longer waited for; what it misses it reads again later."""
        lane = owned.lane
        log.warning(
            "account_behind",
            account_id=owned.account_id,
            partition=owned.partition.lease.partition,
            low=lane.cursor.low.offset,
            mark=lane.mark,
            waiting=len(lane.window),
        )

    def caught_up(self, owned: OwnedLane) -> None:
        """An account that was behind is so no more."""
        log.info("account_caught_up", account_id=owned.account_id, partition=owned.partition.lease.partition)

    def replayed(self, seconds: float) -> None:
        """The journal of a partition was read."""
        self.metrics.replay_seconds.observe(seconds)

    def sampled(self, partitions: Iterable[OwnedPartition], now: Instant) -> None:
        """The gauges, about once a second."""
        metrics = self.metrics
        states: Counter[str] = Counter()
        batches: Counter[BatchState] = Counter()
        breakers: Counter[tuple[BreakerState, Cause | None]] = Counter()
        tokens = TokenSample()
        waiting = unresolved = carried = suspects = unread = 0
        oldest_s = 0.0
        partitions = list(partitions)
        for partition in partitions:
            for owned in partition.lanes.values():
                lane = owned.lane
                states[_state_of(owned)] += 1
                tokens.add(owned, now)
                if lane.breaker.cause is not None:
                    breakers[lane.breaker.state(now.boot_s), lane.breaker.cause] += 1
                if lane.idle:
                    continue  # there may be ten thousand of them
                suspects += lane.parts.waiting_count(lane.batches.values())
                unresolved += sum(batch.entry.state is BatchState.AMBIGUOUS for batch in lane.held)
                carried += len(lane.carry)
                waiting += len(lane.window)
                unread += lane.labels.failing is not None
                oldest_s = max(oldest_s, now.boot_s - lane.window_since_s) if lane.window else oldest_s
                batches.update(batch.entry.state for batch in lane.batches.values())
        for state in ("running", "full", "blocked", "paused"):
            metrics.lanes.labels(state).set(states[state])
        for batch_state in (BatchState.UNSENT, BatchState.OPEN, BatchState.AMBIGUOUS, BatchState.ACCEPTED):
            metrics.open_batches.labels(batch_state).set(batches[batch_state])
        for breaker_state in (BreakerState.OPEN, BreakerState.HALF_OPEN):
            for cause in Cause:
                metrics.breakers.labels(breaker_state, cause).set(breakers[breaker_state, cause])
        metrics.refused_records.set(suspects)
        metrics.unresolved_batches.set(unresolved)
        metrics.accounts_behind.set(sum(len(partition.reading.behind) for partition in partitions))
        metrics.recall_lag_records.set(sum(partition.reading.recall_lag() for partition in partitions))
        metrics.recall_behind_seconds.set(max((p.reading.behind_s(now) for p in partitions), default=0.0))
        metrics.carried_records.set(carried)
        metrics.labels_unread.set(unread)
        metrics.window_records.set(waiting)
        metrics.window_oldest_seconds.set(oldest_s)
        tokens.show(metrics)


def _state_of(owned: OwnedLane) -> str:
    if owned.lane.options.blocked:
        return "blocked"
    if owned.lane.paused:
        return "paused"
    return "full" if owned.partition.reading.full(owned.lane) else "running"
