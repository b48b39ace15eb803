"""The histogram for what happens once per intent agrees with Prometheus' own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from streams.telemetry.histogram import IntentHistogram

BOUNDS = (0.5, 1.0, 10.0)


@given(st.lists(st.one_of(st.sampled_from(BOUNDS), st.integers(0, 40).map(float))))
def test_it_counts_as_the_clients_own_histogram_does(values):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    many = IntentHistogram("x", "help", "priority", ["low"], BOUNDS)
    many.register(ours)
    single = Histogram("x", "help", ["priority"], buckets=BOUNDS, registry=theirs)
    many.labels("low").observe_many(values)
    single.labels("low")
    for value in values:
        single.labels("low").observe(value)

    def lines(registry: CollectorRegistry) -> set[str]:
        return {line for line in generate_latest(registry).decode().splitlines() if "_created" not in line}

    assert lines(ours) == lines(theirs)


def test_a_value_can_be_counted_many_times_at_once():
    registry = CollectorRegistry()
    histogram = IntentHistogram("x", "help", "status", ["failed"], BOUNDS)
    histogram.register(registry)

    histogram.labels("failed").observe(1.0, 500)

    assert registry.get_sample_value("x_count", {"status": "failed"}) == 500
    assert registry.get_sample_value("x_sum", {"status": "failed"}) == 500
    assert registry.get_sample_value("x_bucket", {"status": "failed", "le": "0.5"}) == 0


def test_a_label_value_that_was_not_declared_is_a_bug():
    with pytest.raises(KeyError):
        IntentHistogram("x", "help", "status", ["failed"], BOUNDS).labels("other")
