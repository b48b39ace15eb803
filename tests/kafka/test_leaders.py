"""Leaders are learned before offsets of a log are asked for; otherwise the client may crash the process."""

from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from streams.kafka import leaders
from streams.kafka.client_config import KafkaOptions, admin_config
from streams.kafka.embedded import EmbeddedKafka
from streams.kafka.leaders import Leaders

SOURCES = Path(leaders.__file__).parents[1]


class Asked:
    def __init__(self):
        self.topics = []

    def list_topics(self, topic, timeout_s):
        assert timeout_s == 5.0
        self.topics.append(topic)


@pytest.fixture
def asked():
    return Asked()


def test_a_topic_is_asked_about_once_in_a_while(asked, monkeypatch):
    now_s = [1000.0]
    monkeypatch.setattr("streams.kafka.leaders.time.monotonic", lambda: now_s[0])
    known = Leaders(asked, 5.0)
    known.learn(["a"])
    known.learn(["a", "b"])
    assert asked.topics == ["a", "b"]
    now_s[0] += leaders.KNOWN_S
    known.learn(["a"])
    assert asked.topics == ["a", "b", "a"]


def test_a_topic_of_which_a_question_failed_is_asked_about_again(asked):
    known = Leaders(asked, 5.0)
    known.learn(["a", "b"])
    known.forget(["a"])
    known.learn(["a", "b"])
    assert asked.topics == ["a", "b", "a"]


def test_a_topic_that_is_gone_is_not_made_anew():
    with EmbeddedKafka({"there": 1}) as kafka:
        admin = AdminClient(admin_config(KafkaOptions(kafka.bootstrap_servers, "group", "worker-0")))
        Leaders(admin, 5.0).learn(["gone"])
        assert set(admin.list_topics(timeout=5).topics) == {"there"}


def test_nobody_asks_for_offsets_of_a_log_without_learning_who_leads():
    asking = [path for path in SOURCES.rglob("*.py") if ".list_offsets(" in path.read_text()]
    assert asking
    assert not [path.name for path in asking if ".learn" not in path.read_text()]
