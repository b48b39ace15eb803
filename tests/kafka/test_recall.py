"""A partition is read again in pieces, without a gap, and never beyond where it is told to end."""

import uuid

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.kafka.client_config import KafkaOptions
from streams.kafka.recall import PIECE_BYTES_MAX, RecallGap, RecallReader
from tests.kafka.test_replay import write

pytestmark = pytest.mark.kafka


@pytest.fixture
def writer(bootstrap):
    made = Producer({"bootstrap.servers": bootstrap, "transactional.id": uuid.uuid4().hex})
    made.init_transactions(30)
    return made


@pytest.fixture
async def recall(bootstrap, new_topic):
    topic = new_topic(1)
    reader = RecallReader(KafkaOptions(bootstrap, uuid.uuid4().hex, "worker-0"), topic, 0)
    yield topic, reader
    await reader.close()


async def read(reader, start, end):
    """Everything from ``start`` to ``end``, and in how many pieces that had something in them it came."""
    found: list[int] = []
    pieces = 0
    for _ in range(100):
        if start >= end:
            return found, pieces
        piece = await reader.read(start, end)
        assert piece.start == start <= piece.next <= end
        found += [message.offset() for message in piece.messages]
        pieces += bool(piece.messages)
        start = piece.next
    raise AssertionError(f"stands at {start} of {end}")


async def test_it_reads_what_was_committed_up_to_the_end_it_is_told(recall, writer):
    topic, reader = recall
    write(writer, topic, range(10))
    write(writer, topic, range(5), commit=False)
    write(writer, topic, range(10, 20))
    # Ten messages and a marker, five that were aborted and a marker, ten and a marker.
    assert await read(reader, 0, 28) == ([*range(10), *range(17, 27)], 1)
    assert (await read(reader, 3, 8))[0] == [3, 4, 5, 6, 7]
    assert (await read(reader, 8, 18))[0] == [8, 9, 17], "on from there"
    assert (await read(reader, 2, 4))[0] == [2, 3], "and back"


async def test_it_reads_in_pieces_of_bounded_size(recall, writer):
    topic, reader = recall
    write(writer, topic, ["x" * (PIECE_BYTES_MAX // 4)] * 10)
    found, pieces = await read(reader, 0, 10)
    assert found == list(range(10))
    assert pieces >= 3


async def test_a_log_that_begins_later_is_a_gap_and_no_leap(recall, writer, bootstrap):
    topic, reader = recall
    write(writer, topic, range(10))
    # The client must outlive its answer.
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (done,) = admin.delete_records([TopicPartition(topic, 0, 6)]).values()
    done.result(10)
    with pytest.raises(RecallGap, match="offset 4 is not in the log"):
        await read(reader, 4, 10)
    assert (await read(reader, 6, 10))[0] == [6, 7, 8, 9]
