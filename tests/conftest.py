"""What every test may rely on: an environment without settings of the person who runs it, and a real Apache Kafka.

The Kafka is started once for a run, at the first test that asks for it; ``CALLSTREAM_TEST_BOOTSTRAP`` names an existing
one instead.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping

import pytest
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from scripts.kafka import RELEASE_FOR_OUTAGES, Cluster

# The ids of all tests that were collected, those that are deselected included: what the papers name must be among them.
COLLECTED = pytest.StashKey[tuple[str, ...]]()

NewTopicFactory = Callable[..., str]
Reader = Callable[..., list[Message]]

# How a developer points the suite at a running Kafka; everything else with our prefix would change what a test sees.
KEPT = frozenset({"CALLSTREAM_TEST_BOOTSTRAP"})


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``@pytest.mark.faults("F25", "F75")`` puts these rows of docs/faults.md into the id of a test."""
    rows = [str(row) for marker in metafunc.definition.iter_markers("faults") for row in marker.args]
    if rows:
        metafunc.fixturenames.append("_fault_rows")
        metafunc.parametrize("_fault_rows", [None], ids=["+".join(rows)], indirect=True)


@pytest.fixture
def _fault_rows() -> None:
    """Carries rows in its id, nothing else."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[COLLECTED] = tuple(item.nodeid for item in items)


@pytest.fixture(autouse=True)
def _scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("CALLSTREAM_") and name not in KEPT:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Cluster]:
    """One node for the whole run. Do not stop it: others share it (see ``kafka_to_break``)."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def bootstrap(request: pytest.FixtureRequest) -> str:
    """Address of the Kafka to test against."""
    existing = os.environ.get("CALLSTREAM_TEST_BOOTSTRAP")
    if existing:
        return existing
    cluster: Cluster = request.getfixturevalue("kafka")
    return cluster.bootstrap


@pytest.fixture
def kafka_to_break() -> Iterator[Cluster]:
    """One node of the test's own, to stop, kill and freeze."""
    with Cluster(release=RELEASE_FOR_OUTAGES) as cluster:
        yield cluster


@pytest.fixture
def new_topic(bootstrap: str) -> NewTopicFactory:
    """``new_topic(partitions=4, *, name="t", config={}, at=bootstrap)`` creates a topic and returns its unique name."""

    def create(
        partitions: int = 4, *, name: str = "t", config: Mapping[str, str] | None = None, at: str = bootstrap
    ) -> str:
        topic = f"{name}-{uuid.uuid4().hex[:12]}"
        admin = AdminClient({"bootstrap.servers": at})
        created = admin.create_topics([NewTopic(topic, partitions, config=dict(config or {}))])
        created[topic].result(30)
        _wait_for_leaders(admin, topic, partitions)
        return topic

    return create


@pytest.fixture
def read_committed(bootstrap: str) -> Reader:
    """``read_committed(topic, *, at=bootstrap, timeout_s=30)``: all that a ``read_committed`` reader sees, in order.

    Reads to the high watermark taken at the call, so it waits for transactions that are still open.
    """

    def read(topic: str, *, at: str = bootstrap, timeout_s: float = 30.0) -> list[Message]:
        return _read(topic, at, "read_committed", timeout_s)

    return read


@pytest.fixture
def read_uncommitted(bootstrap: str) -> Reader:
    """As ``read_committed``, with the messages of open and aborted transactions."""

    def read(topic: str, *, at: str = bootstrap, timeout_s: float = 30.0) -> list[Message]:
        return _read(topic, at, "read_uncommitted", timeout_s)

    return read


def _wait_for_leaders(admin: AdminClient, topic: str, partitions: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        found = admin.list_topics(topic, timeout=10).topics[topic]
        if len(found.partitions) == partitions and all(each.leader >= 0 for each in found.partitions.values()):
            return
        assert time.monotonic() < deadline, f"topic {topic} got no leaders"


def _read(topic: str, bootstrap: str, isolation: str, timeout_s: float) -> list[Message]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "unused",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 5,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        # From the broker, not from the cache: high watermarks, so that an open transaction is waited for.
        targets = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions}
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        return _read_to(consumer, targets, time.monotonic() + timeout_s)
    finally:
        consumer.close()


def _read_to(consumer: Consumer, targets: dict[int, int], deadline: float) -> list[Message]:
    messages: dict[int, list[Message]] = {p: [] for p in targets}
    missing = {p for p, target in targets.items() if target > 0}
    while missing:
        assert time.monotonic() < deadline, f"not read to the end in time: {missing} of {targets}"
        for message in consumer.consume(10_000, 0.1):
            error = message.error()
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            if error is None:
                messages[partition].append(message)
                offset += 1
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
            if offset >= targets[partition]:
                missing.discard(partition)
    return [message for partition in sorted(messages) for message in messages[partition]]
