"""The mock cluster serves other processes: transactions, the classic group protocol, KIP-848."""

import json
import subprocess
import sys

import pytest
from confluent_kafka import Producer

from streams.kafka.embedded import EmbeddedKafka, EmbeddedKafkaError, load_library

TOPICS = {"in": 16, "out": 3}

READER = """
import json, sys, time
from confluent_kafka import Consumer
servers, protocol = sys.argv[1:]
classic = {"partition.assignment.strategy": "cooperative-sticky"}
group = {"group.protocol": "consumer"} if protocol == "consumer" else classic
consumer = Consumer({"bootstrap.servers": servers, "group.id": protocol, "auto.offset.reset": "earliest", **group})
consumer.subscribe(["in"])
values, until = [], time.monotonic() + 20
while len(values) < 50 and time.monotonic() < until:
    message = consumer.poll(0.1)
    if message is not None and not message.error():
        values.append(int(message.value()))
consumer.close()
print(json.dumps(sorted(values)))
"""

WRITER = """
import sys
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": sys.argv[1], "transactional.id": "writer"})
producer.init_transactions(10)
producer.begin_transaction()
for number in range(50):
    producer.produce("in", b"%d" % number)
producer.commit_transaction(10)
"""


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=45, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_another_process_writes_in_a_transaction_and_a_third_one_reads_as_a_group(protocol: str) -> None:
    with EmbeddedKafka(TOPICS) as kafka:
        run(WRITER, kafka.bootstrap_servers)
        assert json.loads(run(READER, kafka.bootstrap_servers, protocol)) == list(range(50))


def test_topics_have_the_partitions_they_were_asked_for() -> None:
    with EmbeddedKafka(TOPICS) as kafka:
        topics = Producer({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(timeout=10).topics
        assert {name: len(topic.partitions) for name, topic in topics.items()} == TOPICS


def test_two_clusters_do_not_know_each_other() -> None:
    with EmbeddedKafka({"one": 1}) as one, EmbeddedKafka({"two": 1}) as two:
        assert one.bootstrap_servers != two.bootstrap_servers
        assert list(Producer({"bootstrap.servers": one.bootstrap_servers}).list_topics(timeout=10).topics) == ["one"]


def test_the_address_is_known_only_while_it_runs() -> None:
    kafka = EmbeddedKafka(TOPICS)
    with pytest.raises(EmbeddedKafkaError, match="not running"):
        _ = kafka.bootstrap_servers
    with kafka:
        assert kafka.bootstrap_servers.startswith("127.0.0.1:")
    with pytest.raises(EmbeddedKafkaError, match="not running"):
        _ = kafka.bootstrap_servers


def test_a_refused_topic_is_named() -> None:
    with pytest.raises(EmbeddedKafkaError, match="'in' with 0 partitions"), EmbeddedKafka({"in": 0}):
        pass


@pytest.mark.parametrize("path", ["/nowhere/librdkafka.so", "libc.so.6"], ids=["absent", "without_a_mock_cluster"])
def test_a_library_without_a_mock_cluster_is_named_with_the_remedy(path: str) -> None:
    with pytest.raises(EmbeddedKafkaError, match="binary wheel") as caught:
        load_library(path)
    assert path in str(caught.value)
