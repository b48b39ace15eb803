"""Every metric of callstream, declared once: name, type, labels with all their values, help, buckets.

The names are promises; dashboards and alerts of others stand on them. Label values are a closed set and each series is
there from the start, at zero, so that a rate is right from the first event and nothing grows with traffic. No label
ever holds an account, a batch, a number or a text from outside.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, TypeVar, get_args

from prometheus_client import Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry

from streams.contracts.journal import BatchState
from streams.contracts.outcome import Status
from streams.contracts.parcel import Priority
from streams.contracts.request import RequestKind
from streams.intake.reasons import Code
from streams.lane.breaker import BreakerState, Cause
from streams.lane.tokens import Shortage
from streams.telemetry.histogram import IntentHistogram

PREFIX = "callstream_"

REJECTED = "rejected"
"""The ``reason`` of dead letters that the API refused; what it said is in the dead letter."""

# Which verdicts a kind of request can end with; the words are those of streams.lane.verdict.verdict_name.
VERDICTS: Mapping[str, tuple[str, ...]] = {
    "post": ("accepted", "retry_later", "throttled", "reauthenticate", "split", "refuse", "ambiguous"),
    "check": ("statuses", "not_visible", "retry_later", "throttled", "reauthenticate", "refuse", "ambiguous"),
    "mint": ("minted", "retry_later", "throttled", "refuse"),
    "labels": ("listed", "retry_later", "throttled", "reauthenticate", "refuse", "ambiguous"),
}

Committer = Literal["route", "lanes"]
_COMMITTERS = get_args(Committer)
_CONSUMED = ("intents", "parcels")

# Errors by which Kafka says that the group has moved on; a commit that meets one is repeated.
_REBALANCE_ERRORS = frozenset(
    {
        "FENCED_MEMBER_EPOCH",
        "ILLEGAL_GENERATION",
        "REBALANCE_IN_PROGRESS",
        "STALE_MEMBER_EPOCH",
        "UNKNOWN_MEMBER_ID",
    }
)

_REQUEST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30)
_COMMIT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)
_COMMIT_MESSAGES = (1, 10, 100, 500, 1000, 2500, 5000, 10_000)
_PARCEL_RECORDS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)
# 499 and 500 tell full batches from nearly full ones.
_BATCH_RECORDS = (1, 5, 10, 25, 50, 100, 200, 300, 400, 499, 500)
_ACCEPT_SECONDS = (0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 14_400)
_FINAL_SECONDS = (1, 2.5, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_REBALANCE_SECONDS = (0.01, 0.05, 0.1, 0.3, 0.5, 1, 2.5, 5, 10, 20, 35)
_REPLAY_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)
_LOOP_LAG_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


@dataclass(frozen=True, slots=True)
class Definition:
    """What is promised about one metric. ``name`` is the one on ``/metrics``."""

    name: str
    kind: str
    labels: Mapping[str, Sequence[str]]
    documentation: str
    buckets: Sequence[float] = ()


_M = TypeVar("_M", Counter, Gauge, Histogram)


class Metrics:
    """All metrics, registered with ``registry``. ``labels(...)`` takes enum members or their text."""

    def __init__(self, registry: CollectorRegistry, version: str) -> None:
        self._registry = registry
        self.definitions: list[Definition] = []
        self._declare_intake()
        self._declare_lanes()
        self._declare_tokens()
        self._declare_results()
        self._declare_kafka()
        self._declare_process(version)

    def _declare_intake(self) -> None:
        self.intents = self._counter(
            "intents", "Call intents read, by what routing made of them.", result=("valid", "invalid", "expired")
        )
        self.intent_warnings = self._counter(
            "intent_warnings",
            "Valid intents with something to mend: unknown fields that were dropped, characters the API dislikes.",
            warning=("unknown_field", "reason_characters"),
        )
        self.unknown_labels = self._counter(
            "unknown_labels", "Labels that intents named and their account does not have; once for each."
        )
        self.labels_unread = self._gauge(
            "labels_unread", "Accounts whose labels could not be read, so that their intents go out unchecked."
        )
        self.dead_letters = self._counter(
            "dead_letters",
            f"Intents that can never be submitted; reason {REJECTED}: refused by the API, or for their label.",
            reason=(*(code for code in Code if code is not Code.EXPIRED), REJECTED),
        )
        self.parcel_records = self._histogram(
            "parcel_records", "Intents in each parcel, the intents of one account in one chunk.", _PARCEL_RECORDS
        )

    def _declare_lanes(self) -> None:
        self.lanes = self._gauge(
            "lanes",
            "Accounts owned by this worker: running, full (passed over), blocked (somebody has to act), "
            "paused (by an operator).",
            state=("running", "full", "blocked", "paused"),
        )
        self.accounts_behind = self._gauge(
            "accounts_behind", "Accounts that the others do not wait for; they are read again from their own place."
        )
        self.recall_lag_records = self._gauge(
            "recall_lag_records", "Messages between the place up to which accounts were read and where the others are."
        )
        self.recall_behind_seconds = self._gauge(
            "recall_behind_seconds",
            "Age of the oldest intent that an account which is behind has still to read again after a crash.",
        )
        self.carried_records = self._gauge(
            "carried_records",
            "Waiting intents that are in the journal because their places would make cursors too long.",
        )
        self.window_records = self._gauge("window_records", "Intents that wait for a batch.")
        self.window_oldest_seconds = self._gauge("window_oldest_seconds", "Age of the intent that waits longest.")
        self.open_batches = self._gauge(
            "open_batches",
            "Batches in the journal that are not final.",
            state=[state for state in BatchState if state is not BatchState.SPLIT],
        )
        self.unresolved_batches = self._gauge(
            "unresolved_batches", "Batches that may have been applied and wait for an operator to decide."
        )
        self.breakers = self._gauge(
            "breakers",
            "Accounts that do not submit as usual: open, nothing is submitted for a while; half open, one intent is "
            "tried at a time.",
            state=[state for state in BreakerState if state is not BreakerState.CLOSED],
            cause=tuple(Cause),
        )
        self.breaker_openings = self._counter(
            "breaker_openings",
            "How often breakers opened, first or again: no usable answers, acceptances without a name, forbidden, "
            "or everything refused.",
            cause=tuple(Cause),
        )
        self.refused_records = self._gauge(
            "refused_records", "Intents of batches that the API refused as a whole, in parts that are not settled."
        )
        self.batch_records = self._histogram("batch_records", "Intents in each accepted batch.", _BATCH_RECORDS)
        self.requests = self._counters_of_requests()
        self.request_seconds = self._histogram(
            "request_seconds", "Time to the API's answer.", _REQUEST_SECONDS, kind=get_args(RequestKind)
        )
        self.api_clock_ahead_seconds = self._gauge(
            "api_clock_ahead_seconds",
            "How far the API's clock is ahead of this worker's, by its last answer; expiry goes by the worker's.",
        )

    def _declare_tokens(self) -> None:
        self.tokens = self._gauge("tokens", "Access tokens that may be used.")
        self.accounts_short_of_tokens = self._gauge(
            "accounts_short_of_tokens",
            "Accounts that go on with fewer tokens than they need: the quota of mints is used up, the last attempt to "
            "mint failed, or new tokens seem to revoke the ones before them.",
            cause=get_args(Shortage),
        )
        self.budget_slots = self._gauge(
            "budget_slots", "Requests of the current minute, over all tokens of this worker.", state=("free", "used")
        )
        self.learned_requests_per_minute = self._gauge(
            "learned_requests_per_minute",
            "Requests a minute that the API is believed to take, over all tokens of this worker: their limits, and for "
            "some minutes after a 429 less.",
        )
        self.accounts_throttled = self._gauge(
            "accounts_throttled", "Accounts that send slower than their limits, or wait, because of a 429."
        )

    def _declare_results(self) -> None:
        self.outcomes = self._counter("outcomes", "Changes in what is known of an intent.", status=tuple(Status))
        self.possible_duplicates = self._counter(
            "possible_duplicates",
            "Accepted intents that an earlier attempt, whose fate is not known, may have brought too.",
        )
        self.intent_accept_seconds = self._intent_histogram(
            "intent_accept_seconds",
            "From an intent's Kafka timestamp to its acceptance by the API.",
            _ACCEPT_SECONDS,
            "priority",
            get_args(Priority),
        )
        self.intent_final_seconds = self._intent_histogram(
            "intent_final_seconds",
            "From an intent's acceptance by the API to its final status.",
            _FINAL_SECONDS,
            "status",
            (Status.DELIVERED, Status.FAILED, Status.UNKNOWN),
        )

    def _declare_kafka(self) -> None:
        self.commit_seconds = self._histogram(
            "commit_seconds", "Duration of each Kafka transaction.", _COMMIT_SECONDS, committer=_COMMITTERS
        )
        self.commit_messages = self._histogram(
            "commit_messages", "Messages in each Kafka transaction.", _COMMIT_MESSAGES, committer=_COMMITTERS
        )
        self.commits_aborted = self._counter(
            "commits_aborted",
            "Kafka transactions that were aborted and repeated.",
            committer=_COMMITTERS,
            cause=("rebalance", "error"),
        )
        self.lag_records = self._gauge(
            "lag_records", "Messages not yet read, in the partitions owned.", topic=_CONSUMED
        )
        self.partitions_assigned = self._gauge("partitions_assigned", "Partitions owned.", topic=_CONSUMED)
        self.partitions_blocked = self._gauge(
            "partitions_blocked",
            "Partitions that are not read until an operator has looked; `callstream offsets show` says why.",
            topic=_CONSUMED,
        )
        self.partitions_invalid = self._gauge(
            "intents_partitions_invalid",
            "Partitions of intents of which more than half of the last 1,000 messages were invalid: read on, or paused "
            "(`intents.invalid_ratio_action`).",
            state=("read", "paused"),
        )
        self.rebalance_seconds = self._histogram(
            "rebalance_seconds",
            "Time to take partitions over or to give them up.",
            _REBALANCE_SECONDS,
            event=("assigned", "revoked", "lost"),
        )
        self.replay_seconds = self._histogram(
            "replay_seconds", "Time to read the journal of a partition that was taken over.", _REPLAY_SECONDS
        )

    def _declare_process(self, version: str) -> None:
        self.event_loop_lag_seconds = self._histogram(
            "event_loop_lag_seconds", "How late the event loop wakes a task that is due.", _LOOP_LAG_SECONDS
        )
        info = Info(f"{PREFIX}build", "The release that is running.", registry=self._registry)
        info.info({"version": version})
        self._define("build_info", "gauge", "The release that is running.", {"version": (version,)})

    def commit_observer(self, committer: Committer) -> "CommitMetrics":
        """Return the observer to hand to a committer."""
        return CommitMetrics(self, committer)

    def _counters_of_requests(self) -> Counter:
        """Not the product of its labels: a mint cannot bring statuses."""
        text = "Requests to the API, by what their answer meant."
        counter = Counter(f"{PREFIX}requests", text, ["kind", "verdict"], registry=self._registry)
        for kind, verdicts in VERDICTS.items():
            for verdict in verdicts:
                counter.labels(kind, verdict)
        every = tuple(dict.fromkeys(verdict for verdicts in VERDICTS.values() for verdict in verdicts))
        self._define("requests_total", "counter", text, {"kind": tuple(VERDICTS), "verdict": every})
        return counter

    def _counter(self, name: str, text: str, **labels: Sequence[str]) -> Counter:
        self._define(f"{name}_total", "counter", text, labels)
        return _at_zero(Counter(f"{PREFIX}{name}", text, list(labels), registry=self._registry), labels)

    def _gauge(self, name: str, text: str, **labels: Sequence[str]) -> Gauge:
        self._define(name, "gauge", text, labels)
        return _at_zero(Gauge(f"{PREFIX}{name}", text, list(labels), registry=self._registry), labels)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], **labels: Sequence[str]) -> Histogram:
        self._define(name, "histogram", text, labels, buckets)
        histogram = Histogram(f"{PREFIX}{name}", text, list(labels), buckets=buckets, registry=self._registry)
        return _at_zero(histogram, labels)

    def _intent_histogram(
        self, name: str, text: str, buckets: Sequence[float], label: str, values: Sequence[str]
    ) -> IntentHistogram:
        self._define(name, "histogram", text, {label: values}, buckets)
        histogram = IntentHistogram(f"{PREFIX}{name}", text, label, values, buckets)
        histogram.register(self._registry)
        return histogram

    def _define(
        self, name: str, kind: str, text: str, labels: Mapping[str, Sequence[str]], buckets: Sequence[float] = ()
    ) -> None:
        plain = {label: tuple(str(value) for value in values) for label, values in labels.items()}
        self.definitions.append(Definition(f"{PREFIX}{name}", kind, plain, text, tuple(buckets)))


class CommitMetrics:
    """What a committer reports, as metrics. Called from the committer's own thread."""

    def __init__(self, metrics: Metrics, committer: Committer) -> None:
        self._seconds = metrics.commit_seconds.labels(committer)
        self._messages = metrics.commit_messages.labels(committer)
        self._aborted = {cause: metrics.commits_aborted.labels(committer, cause) for cause in ("rebalance", "error")}

    def committed(self, units: int, messages: int, seconds: float) -> None:  # noqa: ARG002 - the committer's protocol
        """Count a transaction that is durable."""
        self._seconds.observe(seconds)
        self._messages.observe(messages)

    def aborted(self, cause: str) -> None:
        """Count a transaction that will be repeated. ``cause`` is the name of Kafka's error."""
        self._aborted["rebalance" if cause in _REBALANCE_ERRORS else "error"].inc()


def create_registry() -> CollectorRegistry:
    """Return a registry with the metrics of the process, the interpreter and its memory.

    ``_created`` series are switched off: they double the series and Prometheus does not need them.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own lack
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def _at_zero(metric: _M, labels: Mapping[str, Sequence[str]]) -> _M:
    for values in _combinations(labels):
        metric.labels(*values)
    return metric


def _combinations(labels: Mapping[str, Sequence[str]]) -> Iterator[tuple[Any, ...]]:
    return product(*labels.values()) if labels else iter(())
