"""What the transport and the committer rely on in confluent-kafka 2.16.1 and librdkafka 2.16.0, on a real Kafka.

When one of these fails after an upgrade, the code that stands on the fact has to be thought through again.
"""

import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.kafka.client_config import KafkaOptions, consumer_config
from streams.kafka.membership import is_member
from tests.kafka.transport_workers import PROTOCOLS, commit, fill, transactional

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def options(bootstrap: str) -> KafkaOptions:
    return KafkaOptions(bootstrap, f"g-{uuid.uuid4().hex[:12]}", "i", session_timeout_s=6.0)


@contextmanager
def consuming(options: KafkaOptions, protocol: Any) -> Iterator[Consumer]:
    consumer = Consumer(consumer_config(options, protocol))
    try:
        yield consumer
    finally:
        consumer.close()


def poll_until(consumer: Consumer, condition: Callable[[], bool], *, timeout_s: float = 20.0) -> list[Message]:
    """Poll until ``condition`` holds. Returns the messages that came, without end-of-partition marks."""
    deadline = time.monotonic() + timeout_s
    messages: list[Message] = []
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        message = consumer.poll(0.02)
        if message is not None and message.error() is None:
            messages.append(message)
    return messages


def acknowledge(consumer: Consumer, topic: str, *, on_revoke: Any = None) -> list[TopicPartition]:
    """Join, and answer rebalances without reading anything. Returns what the group gave."""
    given: list[TopicPartition] = []

    def on_assign(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        given.extend(partitions)
        consumer.incremental_assign([])

    consumer.subscribe([topic], on_assign=on_assign, on_revoke=on_revoke or give_up_nothing)
    poll_until(consumer, lambda: bool(given))
    return given


def give_up_nothing(consumer: Consumer, _partitions: list[TopicPartition]) -> None:
    consumer.incremental_unassign([])


def test_the_versions_are_those_that_were_looked_at():
    assert version("confluent-kafka") == "2.16.1"
    assert confluent_kafka.libversion()[0] == "2.16.0"


def test_a_rebalance_callback_shuts_out_other_threads_but_not_its_own(
    options: KafkaOptions, new_topic: Any, protocol: Any
) -> None:
    """Therefore every call goes through the poll thread, which serves them inside its callbacks."""
    topic = new_topic(1)
    answered = threading.Event()
    seen: dict[str, Any] = {}

    def ask_from_elsewhere(consumer: Consumer) -> None:
        with suppress(KafkaException, RuntimeError):  # timed out, or the test was faster and has closed the consumer
            consumer.committed([TopicPartition(topic, 0)], timeout=0.1)
        answered.set()

    def on_assign(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        other = threading.Thread(target=ask_from_elsewhere, args=(consumer,), daemon=True)
        other.start()
        seen["answered_in_callback"] = answered.wait(1.0)
        seen["own_answer"] = consumer.committed(partitions, timeout=5)
        seen["own_metadata"] = is_member(consumer.consumer_group_metadata())
        consumer.incremental_assign([])

    with consuming(options, protocol) as consumer:
        consumer.subscribe([topic], on_assign=on_assign)
        poll_until(consumer, lambda: bool(seen))
        assert seen["answered_in_callback"] is False, "other threads are let in now: the queue of calls may go"
        assert [each.partition for each in seen["own_answer"]] == [0]
        assert seen["own_metadata"] is True


def test_group_metadata_is_the_bytes_that_we_read(options: KafkaOptions, new_topic: Any, protocol: Any) -> None:
    topic = new_topic(1)
    with consuming(options, protocol) as consumer:
        before = consumer.consumer_group_metadata()
        acknowledge(consumer, topic)
        joined = consumer.consumer_group_metadata()
        member_id = consumer.memberid()
        generation = struct.unpack_from("=i", joined, 7)[0]
        rest = options.group_id.encode() + b"\0" + member_id.encode() + b"\0\x01"
        assert before[:11] == b"CGMDv2:" + struct.pack("=i", -1)
        assert before[11:].startswith(options.group_id.encode() + b"\0")
        assert joined == b"CGMDv2:" + struct.pack("=i", generation) + rest
        assert generation >= 1
        assert (is_member(before), is_member(joined)) == (False, True)


def test_only_our_own_check_fences_a_non_member_in_the_classic_protocol(
    options: KafkaOptions, new_topic: Any, protocol: Any, bootstrap: str
) -> None:
    """Therefore metadata of a non-member never reaches a transaction."""
    topic = new_topic(1)
    producer = transactional(bootstrap)
    with consuming(options, protocol) as member, consuming(options, protocol) as stranger:
        acknowledge(member, topic)
        metadata = stranger.consumer_group_metadata()
        assert not is_member(metadata)
        producer.begin_transaction()
        offsets = [TopicPartition(topic, 0, 7)]
        if protocol == "classic":
            producer.send_offsets_to_transaction(offsets, metadata, 10)
            producer.commit_transaction(10)
            overwritten = stranger.committed([TopicPartition(topic, 0)], timeout=10)[0].offset
            assert overwritten == 7, "the broker refuses it now"
        else:
            with pytest.raises(KafkaException) as refused:
                producer.send_offsets_to_transaction(offsets, metadata, 10)
            assert refused.value.args[0].code() == KafkaError.UNKNOWN_MEMBER_ID
            producer.abort_transaction(10)


def test_metadata_from_before_a_rebalance_is_refused_for_a_partition_that_moved(
    options: KafkaOptions, new_topic: Any, protocol: Any, bootstrap: str
) -> None:
    """Therefore an old snapshot is safe: it is refused, and the transaction is done again with a new one.

    For a partition that stayed, a broker may accept an older epoch (KIP-1251).
    """
    topic = new_topic(2)
    producer = transactional(bootstrap)
    moved: list[TopicPartition] = []

    def on_assign(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        moved.extend(partitions)
        consumer.incremental_assign([])

    with consuming(options, protocol) as first:
        acknowledge(first, topic)
        old = first.consumer_group_metadata()
        with consuming(options, protocol) as second:
            second.subscribe([topic], on_assign=on_assign, on_revoke=give_up_nothing)
            poll_until(first, lambda: second.poll(0) is None and bool(moved))
            producer.begin_transaction()
            with pytest.raises(KafkaException) as refused:
                producer.send_offsets_to_transaction([TopicPartition(topic, moved[0].partition, 1)], old, 10)
            producer.abort_transaction(10)
    code = refused.value.args[0].code()
    assert code in {KafkaError.ILLEGAL_GENERATION, KafkaError.STALE_MEMBER_EPOCH}


def test_an_assignment_may_be_answered_first_and_read_later_from_an_explicit_offset(
    options: KafkaOptions, new_topic: Any, protocol: Any, bootstrap: str
) -> None:
    """Therefore no lookup by the client is ever under way when a partition is paused and resumed."""
    topic = new_topic(2)
    fill(bootstrap, topic, partitions=2, records=2_000)
    commit(bootstrap, options.group_id, topic, {0: 900, 1: 900})
    messages: list[Message] = []
    with consuming(options, protocol) as consumer:
        given = acknowledge(consumer, topic)
        assert {each.partition for each in given} == {0, 1}
        assert consumer.assignment() == []
        where = TopicPartition(topic, 0)
        consumer.incremental_assign([TopicPartition(topic, 0, 500)])
        for _ in range(5):
            consumer.pause([where])
            consumer.resume([where])
        while len(messages) < 500:
            messages += [each for each in consumer.consume(1_000, 0.5) if each.error() is None]
        # Nothing twice, nothing from the committed offset, nothing of the partition that was never begun.
        assert [(each.partition(), each.offset()) for each in messages] == [(0, n) for n in range(500, 1_000)]
        consumer.incremental_unassign([where])


@pytest.mark.parametrize("begun", [0, 1, 2])
def test_a_revocation_may_be_answered_for_the_begun_partitions_only(
    options: KafkaOptions, new_topic: Any, protocol: Any, begun: int
) -> None:
    """Therefore a partition that was never begun is given back without ever having been read."""
    topic = new_topic(2)
    revoked: list[int] = []

    def on_revoke(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        revoked.extend(each.partition for each in partitions)
        consumer.incremental_unassign([each for each in partitions if each.partition < begun])

    with consuming(options, protocol) as consumer:
        acknowledge(consumer, topic, on_revoke=on_revoke)
        if begun:
            consumer.incremental_assign([TopicPartition(topic, partition, 0) for partition in range(begun)])
    assert sorted(revoked) == [0, 1]


def test_one_request_wakes_a_partition_that_was_paused(
    options: KafkaOptions, new_topic: Any, protocol: Any, bootstrap: str
) -> None:
    """Therefore a resume is followed by a cheap request; without it, fetching may begin a second later."""
    topic = new_topic(1)
    fill(bootstrap, topic, partitions=1, records=1_000)
    took_s: list[float] = []
    with consuming(options, protocol) as consumer:
        acknowledge(consumer, topic)
        where = TopicPartition(topic, 0)
        consumer.incremental_assign([TopicPartition(topic, 0, 0)])
        received = 0
        for _ in range(4):
            consumer.pause([where])
            deadline = time.monotonic() + 0.3  # the client's thread goes to sleep meanwhile
            poll_until(consumer, lambda: time.monotonic() > deadline)  # noqa: B023 - called at once
            resumed_s = time.monotonic()
            consumer.resume([where])
            consumer.get_watermark_offsets(where, timeout=5)
            got = [message for message in consumer.consume(1, 5) if message.error() is None]
            took_s.append(time.monotonic() - resumed_s)
            received += len(got)
    assert received == 4
    assert max(took_s) < 0.5, took_s
