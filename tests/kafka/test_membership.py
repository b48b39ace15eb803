"""The private format of librdkafka's group metadata, which tells whether we are a member, held by a test."""

import time
import uuid

import pytest
from confluent_kafka import Consumer

from streams.kafka.client_config import KafkaOptions, consumer_config
from streams.kafka.membership import UnknownMetadataError, is_member


def test_a_consumer_that_never_joined_is_no_member():
    consumer = Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "group", "log_level": 0})
    assert is_member(consumer.consumer_group_metadata()) is False


@pytest.mark.parametrize(
    ("metadata", "member"),
    [
        pytest.param(b"CGMDv2:\x05\0\0\0group\0id-1\0\x01", True, id="member"),
        pytest.param(b"CGMDv2:\0\0\0\0group\0id-1\0\x01", True, id="generation-0"),
        pytest.param(b"CGMDv2:\xff\xff\xff\xffgroup\0id-1\0\x01", False, id="no-generation"),
        pytest.param(b"CGMDv2:\x05\0\0\0group\0\0\x01", False, id="no-member-id"),
    ],
)
def test_generation_and_member_id_make_a_member(metadata, member):
    assert is_member(metadata) is member


@pytest.mark.parametrize("metadata", [b"", b"CGMDv3:\x05\0\0\0group\0id\0\x01", b"CGMDv2:\x05"])
def test_another_format_is_refused(metadata):
    with pytest.raises(UnknownMetadataError):
        is_member(metadata)


@pytest.mark.kafka
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_consumer_is_a_member_from_its_assignment_to_its_end(bootstrap, new_topic, protocol):
    options = KafkaOptions(bootstrap, uuid.uuid4().hex, "worker-0")
    consumer = Consumer(consumer_config(options, protocol))
    seen = []
    consumer.subscribe([new_topic(1)], on_assign=lambda c, _: seen.append(c.consumer_group_metadata()))
    deadline = time.monotonic() + 20
    while not seen:
        assert time.monotonic() < deadline
        consumer.poll(0.05)
    assert is_member(seen[0])
    assert is_member(consumer.consumer_group_metadata())
    consumer.close()
