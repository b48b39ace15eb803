"""Following topics from outside the group: where it starts, and that it reads to the ends and no further."""

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaException, Producer

from streams.kafka.client_config import KafkaOptions, reader_config
from streams.kafka.embedded import CLIENT_PROPERTIES, EmbeddedKafka
from streams.kafka.follow import Follower, TopicMissing


@pytest.fixture
def servers() -> Iterator[str]:
    with EmbeddedKafka({"a": 3, "b": 1}) as kafka:
        yield kafka.bootstrap_servers


def follow(servers: str, *topics: str, from_beginning: bool = True) -> Follower:
    options = KafkaOptions(servers, "test", "test", extra=CLIENT_PROPERTIES)
    return Follower(reader_config(options), topics, from_beginning=from_beginning)


def write(servers: str, topic: str, count: int, *, in_transaction: bool = False) -> None:
    producer = Producer({"bootstrap.servers": servers} | ({"transactional.id": "w"} if in_transaction else {}))
    if in_transaction:
        producer.init_transactions(10)
        producer.begin_transaction()
    for number in range(count):
        producer.produce(topic, b"%d" % number)
    if in_transaction:
        producer.commit_transaction(10)
    assert producer.flush(10) == 0


def values(follower: Follower) -> list[int]:
    return sorted(int(message.value() or b"") for messages in follower.rest() for message in messages)


def test_the_rest_is_everything_there_is_in_all_topics(servers: str) -> None:
    write(servers, "a", 100)
    write(servers, "b", 50)
    with follow(servers, "a", "b") as follower:
        assert values(follower) == sorted([*range(100), *range(50)])
        assert values(follower) == []
        write(servers, "a", 3)
        assert values(follower) == [0, 1, 2]


def test_the_rest_ends_behind_the_marker_of_a_transaction(servers: str) -> None:
    write(servers, "b", 5, in_transaction=True)
    with follow(servers, "b") as follower:
        assert values(follower) == [0, 1, 2, 3, 4]


def test_from_the_end_is_the_end_at_the_start(servers: str) -> None:
    write(servers, "a", 100)
    with follow(servers, "a", from_beginning=False) as follower:
        write(servers, "a", 2)
        assert values(follower) == [0, 1]


def test_a_rest_that_never_ends_is_given_up(servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(servers, "a", 1)
    with follow(servers, "a") as follower:
        monkeypatch.setattr(follower, "read", list)
        with pytest.raises(TimeoutError, match="not reached"):
            list(follower.rest(timeout_s=0.0))


def test_a_missing_topic_is_named_and_not_created(servers: str) -> None:
    for _ in range(2):
        with pytest.raises(TopicMissing) as caught:
            follow(servers, "a", "absent")
        assert caught.value.topic == "absent"


def test_a_message_that_cannot_be_read_is_an_error(servers: str) -> None:
    write(servers, "b", 1, in_transaction=True)
    strict = reader_config(KafkaOptions(servers, "test", "test"))
    # The mock cluster's transaction markers have no checksum; a reader that checks them finds a damaged message.
    with Follower(strict, ["b"], from_beginning=True) as follower, pytest.raises(KafkaException, match="CRC"):
        list(follower.rest())
