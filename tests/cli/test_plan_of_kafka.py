"""`callstream plan` of a range of a topic on a real Kafka: what it counts is what is there, no more and no less."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from streams.cli import app
from streams.contracts.exits import OperatorError
from tests.plan.making import START_MS, intent

pytestmark = pytest.mark.kafka

PARTITIONS, COUNT = 3, 600


@pytest.fixture
def topic(bootstrap: str, new_topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Intents a second apart, in turn in each partition, and behind them some of a transaction that was aborted."""
    name = new_topic(PARTITIONS, name="intents", config={"retention.ms": "-1"})
    monkeypatch.setenv("CALLSTREAM_KAFKA__BOOTSTRAP_SERVERS", bootstrap)
    monkeypatch.setenv("CALLSTREAM_KAFKA__TOPICS__INTENTS", name)
    monkeypatch.delenv("CALLSTREAM_CONFIG", raising=False)
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": name})
    producer.init_transactions(30)
    producer.begin_transaction()
    publish(producer, name, range(COUNT))
    producer.commit_transaction(30)
    producer.begin_transaction()
    publish(producer, name, range(COUNT, COUNT + 30))
    producer.flush(30)
    producer.abort_transaction(30)
    return name


def publish(producer: Producer, topic: str, numbers: range) -> None:
    for number in numbers:
        at_ms = START_MS + 1000 * number
        producer.produce(topic, intent(number, at_ms=at_ms), partition=number % PARTITIONS, timestamp=at_ms)


def planned(*arguments: str) -> dict[str, Any]:
    ran = CliRunner().invoke(app, ["plan", *arguments, "--json"])
    assert ran.exit_code == 0, (ran.output, ran.exception)
    return dict(orjson.loads(ran.stdout))


def counts(found: dict[str, Any]) -> tuple[int, int, int]:
    return found["read"], found["sent"], found["last_arrival"] - found["first_arrival"]


def second(number: int) -> str:
    return str(START_MS + 1000 * number)


def test_a_range_of_a_topic_is_planned_as_it_was_published(topic: str) -> None:
    assert counts(planned()) == (COUNT, COUNT, 1000 * (COUNT - 1))
    assert counts(planned("--from", second(100), "--to", second(200))) == (100, 100, 99_000)
    assert counts(planned("--offsets", "1:10-20")) == (10, 10, 1000 * PARTITIONS * 9)
    assert counts(planned("--backlog", "--now", str(START_MS))) == (COUNT, COUNT, 0)
    nothing = planned("--from", second(COUNT + 100))
    assert nothing["read"] == 0
    assert nothing["remarks"] == [f"{topic} is not empty, but has none in that range"]


def test_what_retention_has_removed_is_named(topic: str, bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for removed in admin.delete_records([TopicPartition(topic, 0, 50)]).values():
        removed.result(30)
    cut = planned("--offsets", "0:40-60")
    assert counts(cut)[:2] == (10, 10)
    assert cut["remarks"] == [f"{topic}[0]: [40, 50) is not in the log any more"]
    since = planned("--from", second(0))
    assert since["read"] == COUNT - 50
    assert since["remarks"] == [f"{topic}: what retention has removed may have been in the range: [0] before 50"]
    assert planned("--from", second(300))["remarks"] == []


def test_a_topic_that_is_not_there_is_named(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSTREAM_KAFKA__TOPICS__INTENTS", f"{topic}-not")
    ran = CliRunner().invoke(app, ["plan"])
    assert isinstance(ran.exception, OperatorError)
    assert ran.exception.exit_code == 3
    assert f"topic '{topic}-not' does not exist" in str(ran.exception)
