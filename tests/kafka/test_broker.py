"""The tests' Kafka itself: what the other tests take for granted."""

import shutil
import time

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from scripts import kafka as script

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


def producer(bootstrap: str, name: str) -> Producer:
    made = Producer({"bootstrap.servers": bootstrap, "transactional.id": name})
    made.init_transactions(30)
    return made


def test_a_transaction_is_seen_whole_or_not_at_all(bootstrap, new_topic, read_committed, read_uncommitted):
    topic = new_topic(2)
    writer = producer(bootstrap, topic)
    for value, keep in ((b"kept", True), (b"dropped", False)):
        writer.begin_transaction()
        writer.produce(topic, value, partition=1)
        writer.flush()
        if keep:
            writer.commit_transaction(10)
        else:
            writer.abort_transaction(10)
    assert [m.value() for m in read_committed(topic)] == [b"kept"]
    assert [m.value() for m in read_uncommitted(topic)] == [b"kept", b"dropped"]


def test_a_node_that_is_killed_comes_back_with_its_data(kafka_to_break, new_topic, read_committed):
    at = kafka_to_break.bootstrap
    topic = new_topic(1, at=at)
    writer = Producer({"bootstrap.servers": at, "acks": "all"})
    writer.produce(topic, b"survives")
    assert writer.flush(10) == 0
    node = kafka_to_break.nodes[0]
    node.kill()
    node.start()
    node.wait_ready()
    assert [m.value() for m in read_committed(topic, at=at)] == [b"survives"]
    node.pause()
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": at}).list_topics(timeout=0.5)
    node.resume()
    AdminClient({"bootstrap.servers": at}).list_topics(timeout=10)


@pytest.mark.slow
def test_three_nodes_go_on_without_one(new_topic, read_committed):
    with script.Cluster(size=3) as cluster:
        topic = new_topic(3, at=cluster.bootstrap)
        cluster.nodes[0].kill()
        writer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all"})
        for partition in range(3):
            writer.produce(topic, b"x", partition=partition)
        assert writer.flush(30) == 0
        assert len(read_committed(topic, at=cluster.bootstrap)) == 3


@pytest.mark.parametrize("missing", ["java", "mvn"])
def test_a_missing_tool_is_named_with_its_remedy(monkeypatch, tmp_path, missing):
    which = shutil.which
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name, **given: None if name == missing else which(name, **given))
    monkeypatch.setattr(script, "BUILD", tmp_path)
    started = time.monotonic()
    with pytest.raises(script.KafkaUnavailableError, match=r"apt-get install .*maven"):
        script.Cluster().start()
    assert time.monotonic() - started < 5
