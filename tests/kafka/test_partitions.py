"""Our murmur2 is Java's: vectors from Apache Kafka's own UtilsTest, and what librdkafka's murmur2 partitioner does."""

import uuid

import pytest

from streams.kafka.partitions import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else "",
)
def test_murmur2_is_kafkas(key, signed):
    assert murmur2(key) == signed & 0xFFFFFFFF


def test_a_partition_is_the_positive_hash_modulo_the_count():
    # toPositive clears the sign bit, it does not take the absolute value.
    assert partition_of(b"21", 12) == (-973932308 & 0x7FFFFFFF) % 12


@pytest.mark.kafka
def test_librdkafka_puts_the_same_key_into_the_same_partition(bootstrap, new_topic, read_committed):
    from confluent_kafka import Producer

    topic = new_topic(7)
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    keys = [str(uuid.UUID(int=number * 0x9E3779B97F4A7C15)).encode() for number in range(200)]
    for key in keys:
        producer.produce(topic, b"", key)
    assert producer.flush(10) == 0
    found = {message.key(): message.partition() for message in read_committed(topic)}
    assert found == {key: partition_of(key, 7) for key in keys}
