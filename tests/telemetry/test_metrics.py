"""The metrics: closed, at zero from the start, and named as Prometheus wants them."""

import re
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from streams.contracts.request import RequestKind
from streams.lane import verdict as verdicts
from streams.telemetry.docs import reference
from streams.telemetry.metrics import PREFIX, REJECTED, VERDICTS, Metrics, create_registry

ROOT = Path(__file__).parents[2]


@pytest.fixture
def registry() -> CollectorRegistry:
    return create_registry()


@pytest.fixture
def metrics(registry) -> Metrics:
    return Metrics(registry, "1.2.3")


def text_of(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def test_every_series_is_there_from_the_start_at_zero(registry, metrics):
    values = {
        sample.name: sample.value
        for family in parse_text(text_of(registry))
        for sample in family.samples
        if sample.name.startswith(PREFIX)
    }

    assert {value for name, value in values.items() if not name.endswith("_info")} == {0.0}
    assert values["callstream_build_info"] == 1.0
    for definition in metrics.definitions:
        name = f"{definition.name}_count" if definition.kind == "histogram" else definition.name
        assert name in values


def test_using_metrics_adds_no_series(registry, metrics):
    before = text_of(registry).count("\n")

    metrics.intents.labels("valid").inc(3)
    metrics.dead_letters.labels(REJECTED).inc()
    metrics.outcomes.labels("delivered").inc(500)
    metrics.requests.labels("post", "throttled").inc()
    metrics.open_batches.labels("accepted").set(4)
    metrics.intent_accept_seconds.labels("high").observe_many([0.1, 3])
    metrics.commit_observer("lanes").committed(1, 20, 0.01)
    metrics.commit_observer("route").aborted("STALE_MEMBER_EPOCH")
    metrics.commit_observer("route").aborted("whatever Kafka says next")

    assert text_of(registry).count("\n") == before


def test_names_and_helps_pass_the_lint_of_prometheus(registry, metrics):
    for family in parse_text(text_of(registry)):
        if family.name.startswith(PREFIX):
            assert lint(family.name, family.type, family.documentation) == []


def lint(name: str, kind: str, documentation: str) -> list[str]:
    """What ``promtool check metrics`` complains of. The parser has taken ``_total`` off counters."""
    problems = []
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        problems.append("letters")
    if not documentation:
        problems.append("no help")
    if kind != "counter" and re.search(r"_total$", name):
        problems.append("_total on what is no counter")
    if kind != "histogram" and re.search(r"_(count|sum|bucket)$", name):
        problems.append("reserved suffix")
    if re.search(
        r"_(ms|milliseconds|minutes|hours|percent|kb|mb|kilobytes|megabytes|counter|gauge|histogram)(_|$)", name
    ):
        problems.append("no base unit, or the type in the name")
    return problems


@pytest.mark.parametrize(
    ("name", "kind"),
    [("x_latency_ms", "gauge"), ("x_total", "gauge"), ("x_count", "gauge"), ("x_gauge", "gauge"), ("xY", "gauge")],
)
def test_the_lint_finds_something(name, kind):
    assert lint(name, kind, "help")


def test_both_formats_say_the_same(registry, metrics):
    metrics.intents.labels("invalid").inc(2)
    metrics.intent_final_seconds.labels("failed").observe(12.5, 500)

    def samples(families) -> dict[tuple[str, str], float]:
        return {
            (sample.name, str(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
            if sample.name.startswith(PREFIX)
        }

    openmetrics = generate_openmetrics(registry).decode()
    assert samples(parse_openmetrics(openmetrics)) == samples(parse_text(text_of(registry)))


def test_no_label_can_hold_what_comes_from_outside(metrics):
    names = {label for definition in metrics.definitions for label in definition.labels}

    assert names == {
        "cause", "committer", "event", "kind", "priority", "reason", "result", "state", "status", "topic", "verdict",
        "version", "warning",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "union"),
    [("post", verdicts.PostVerdict), ("check", verdicts.CheckVerdict), ("mint", verdicts.TokenVerdict)],
)
def test_every_verdict_has_its_series(kind, union):
    words = {verdicts._NAMES[each] for each in get_args(union)} | {"throttled"}

    assert set(VERDICTS[kind]) == words
    assert set(VERDICTS) == set(get_args(RequestKind))


def test_rebalances_are_told_from_other_aborts(registry, metrics):
    observer = metrics.commit_observer("lanes")
    observer.aborted("ILLEGAL_GENERATION")
    observer.aborted("_TIMED_OUT")

    def value(cause):
        return registry.get_sample_value("callstream_commits_aborted_total", {"committer": "lanes", "cause": cause})

    assert (value("rebalance"), value("error")) == (1, 1)


def test_the_process_is_measured_too(registry):
    assert "process_cpu_seconds_total" in text_of(registry)


def test_the_reference_is_up_to_date():
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")

    assert page == reference(), "run `uv run callstream config docs metrics > docs/metrics.md`"
