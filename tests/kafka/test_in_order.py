"""The messages of several partitions come in the order of time, whatever the order in which Kafka hands them out."""

import pytest
from confluent_kafka import Producer

from streams.kafka import in_order
from streams.kafka.client_config import KafkaOptions
from streams.kafka.embedded import CLIENT_PROPERTIES, EmbeddedKafka
from streams.kafka.gather import Cluster, Unread
from streams.kafka.in_order import InOrder
from streams.kafka.ranges import Bounds, Range, bounds_of

START_MS = 1_700_000_000_000


@pytest.fixture
def topic(monkeypatch):
    """A topic of three partitions: in the first all that is even, in the second what is odd, in the last nothing."""
    with EmbeddedKafka({"intents": 3}) as kafka:
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        # One after the other, so that the second is far behind when the first is read.
        for partition in (0, 1):
            for number in range(partition, 600, 2):
                producer.produce("intents", b"%d" % number, partition=partition, timestamp=START_MS + number)
        assert producer.flush(10) == 0
        cluster = Cluster(KafkaOptions(kafka.bootstrap_servers, "group", "plan", extra=CLIENT_PROPERTIES), 2.0)
        yield cluster
        cluster.close()


def read(cluster, wanted=Range(), bounds=None):  # noqa: B008 - it is frozen
    log = InOrder(cluster, "intents", bounds or bounds_of(cluster, "intents", wanted), lambda _what, _done, _of: None)
    found = [int(message.value() or b"") for message in log.messages()]
    log.close()
    return found


def test_all_come_in_the_order_of_time(topic):
    assert read(topic) == list(range(600))


@pytest.mark.slow
def test_what_runs_ahead_waits_and_is_bounded(topic, monkeypatch):
    monkeypatch.setattr(in_order, "_AHEAD_MAX", 20)
    monkeypatch.setattr(in_order, "_AT_ONCE", 5)
    bounds = bounds_of(topic, "intents", Range())
    log = InOrder(topic, "intents", bounds, lambda _what, _done, _of: None)
    for number, message in enumerate(log.messages()):
        assert int(message.value() or b"") == number
        assert all(len(ahead) <= 20 + 5 for ahead in log._ahead.values())
    assert number == 599
    log.close()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(Range(offsets={0: (10, 13)}), [20, 22, 24], id="offsets"),
        pytest.param(Range(offsets={2: (0, None)}), [], id="nothing"),
    ],
)
def test_a_range_is_read_alone(topic, wanted, expected):
    assert read(topic, wanted) == expected


@pytest.mark.slow
def test_what_never_comes_is_named(topic, monkeypatch):
    with pytest.raises(Unread, match=r"intents stands at \{1: \(300, 400\)\} \(read, end\): nothing came for 2 s"):
        read(topic, bounds={0: Bounds(0, 300, 0, 300), 1: Bounds(0, 400, 290, 400)})
