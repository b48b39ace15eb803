"""A verification reads topics of a cluster: all of them, from where it is told to, and says what it could not read."""

import orjson
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streams.audit.rules import AuditRules
from streams.kafka.client_config import KafkaOptions
from streams.kafka.embedded import CLIENT_PROPERTIES, EmbeddedKafka
from streams.kafka.ranges import Range
from streams.kafka.topic_names import TopicNames
from streams.kafka.verify import Verifier
from tests.audit.recorded import INTENTS, LIMITS, PARTITIONS

GROUP = "verified"
TOPICS = TopicNames("intents", "outcomes", "dead_letters", "parcels", "journal", "requests")


@pytest.fixture(scope="module")
def servers(clean):
    """A cluster that holds the recorded run."""
    sizes = dict.fromkeys(TOPICS, PARTITIONS) | {"intents": 1}
    with EmbeddedKafka(sizes) as kafka:
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        for topic, entries in clean.topics.items():
            for entry in entries:
                producer.produce(topic, entry.value, entry.key, entry.partition, headers=list(entry.headers))
        assert producer.flush(10) == 0
        group = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": GROUP})
        offsets = [(topic, *place) for topic in ("intents", "parcels") for place in clean.committed(topic).items()]
        group.commit(offsets=[TopicPartition(*offset) for offset in offsets], asynchronous=False)
        group.close()
        yield kafka.bootstrap_servers


def verified(servers, *, wanted=Range(), ledger=None, texts=(), topics=TOPICS):  # noqa: B008 - it is frozen
    rules = AuditRules(
        topics.intents, LIMITS, whole=wanted.whole, with_ledger=ledger is not None, with_texts=bool(texts)
    )
    options = KafkaOptions(servers, GROUP, "verify", extra=CLIENT_PROPERTIES)
    return Verifier(options, topics, rules, wanted, ledger, texts, stall_s=5).run()


@pytest.fixture
def ledger(clean, tmp_path):
    path = tmp_path / "ledger.ndjson"
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in clean.ledger) + b'{"not": "finished')
    return path


def test_all_of_it_is_read(servers, ledger):
    report = verified(servers, ledger=ledger)
    assert (report.verdict, report.anomalies, report.unknown) == ("valid", {}, [])
    assert report.intents == INTENTS == report.outcomes.total()
    assert report.budget["kept"]
    assert report.covered["partitions"]["0"] == {"from": 0, "to": INTENTS, "log": [0, INTENTS], "committed": INTENTS}


def test_a_range_of_offsets_is_judged_alone(servers):
    report = verified(servers, wanted=Range(offsets={0: (0, 50)}))
    assert (report.verdict, report.intents) == ("valid", 50)


def test_a_partition_that_is_not_there_is_unknown(servers):
    report = verified(servers, wanted=Range(offsets={7: (0, None)}))
    assert (report.verdict, report.unknown) == ("unknown", ["intents has no partition 7"])


@pytest.mark.parametrize("topic", ["intents", "outcomes", "journal"])
def test_a_topic_that_is_not_there_is_unknown(servers, topic):
    report = verified(servers, topics=TOPICS._replace(**{topic: "absent"}))
    assert report.verdict == "unknown"
    assert "topic 'absent' does not exist" in report.unknown


def test_a_line_that_is_none_of_a_ledger_is_unknown(servers, ledger):
    ledger.write_text('{"event": "request", "kind": "post"}\n')
    assert verified(servers, ledger=ledger).verdict == "unknown"


def test_a_text_is_searched(servers, clean, tmp_path):
    log = tmp_path / "log"
    log.write_text(f"calling {clean.topics['intents'][1].told['receiver']}\n")
    assert set(verified(servers, texts=[log]).anomalies) == {"leaked_number"}
