"""Replay reads everything that was committed before it began, whatever else lies in the partition."""

import asyncio
import threading
import time
import uuid

import pytest
from confluent_kafka import KafkaException, Producer

from streams.kafka import replay as module
from streams.kafka.client_config import KafkaOptions
from streams.kafka.replay import ReplayStalled, replay

pytestmark = pytest.mark.kafka


@pytest.fixture
def options(bootstrap):
    return KafkaOptions(bootstrap, uuid.uuid4().hex, "worker-0")


@pytest.fixture
def writer(bootstrap):
    made = Producer({"bootstrap.servers": bootstrap, "transactional.id": uuid.uuid4().hex})
    made.init_transactions(30)
    return made


def write(writer, topic, values, *, commit=True, partition=0):
    writer.begin_transaction()
    for value in values:
        writer.produce(topic, str(value).encode(), partition=partition)
    writer.flush()
    if commit:
        writer.commit_transaction(10)
    else:
        writer.abort_transaction(10)


async def replayed(options, topic, partition=0, **given):
    found: list[int] = []

    def apply(messages):
        found.extend(int(message.value()) for message in messages)

    count = await replay(options, topic, partition, apply, **given)
    assert count == len(found)
    return found


async def test_an_empty_partition_is_read_at_once(options, new_topic):
    assert await replayed(options, new_topic(1), stall_timeout_s=0.1) == []


async def test_committed_entries_come_in_order_and_aborted_ones_never(options, new_topic, writer):
    topic = new_topic(2)
    write(writer, topic, range(2500))
    write(writer, topic, range(10_000, 10_100), commit=False)
    write(writer, topic, range(2500, 2600))
    write(writer, topic, [77], partition=1)
    # Nothing visible after the target's last entries: the end is reached through markers alone.
    write(writer, topic, range(10_000, 10_100), commit=False)
    assert await replayed(options, topic) == list(range(2600))
    assert await replayed(options, topic, 1) == [77]


async def test_a_replay_does_not_wait_for_threads_that_others_keep_busy(options, new_topic, writer):
    topic = new_topic(1)
    write(writer, topic, [1, 2])
    answered = threading.Event()
    lookups = [asyncio.create_task(asyncio.to_thread(answered.wait)) for _ in range(40)]  # a name server that is away
    try:
        assert await asyncio.wait_for(replayed(options, topic), 20) == [1, 2]
    finally:
        answered.set()
        await asyncio.gather(*lookups)


async def test_an_open_transaction_is_waited_for(options, new_topic, writer, bootstrap, monkeypatch):
    topic = new_topic(1)
    write(writer, topic, [1])
    writer.begin_transaction()
    writer.produce(topic, b"2", partition=0)
    writer.flush()
    # Committed behind an open transaction: hidden from a read_committed reader, and part of what must be seen.
    other = Producer({"bootstrap.servers": bootstrap, "transactional.id": uuid.uuid4().hex})
    other.init_transactions(30)
    write(other, topic, [3])
    seen: list[int] = []
    idle = asyncio.Event()

    def apply(messages):
        seen.extend(int(message.value()) for message in messages)
        if seen and not messages:
            idle.set()

    # What stands before the open transaction was read, and then nothing more comes.
    monkeypatch.setattr(module, "_WAIT_S", 0.5)
    running = asyncio.create_task(replay(options, topic, 0, apply))
    await asyncio.wait([running, asyncio.create_task(idle.wait())], return_when=asyncio.FIRST_COMPLETED)
    assert seen == [1]
    assert not running.done()
    await asyncio.to_thread(writer.commit_transaction, 10)
    assert await running == 3
    assert seen == [1, 2, 3]


@pytest.mark.faults("F72")
async def test_a_transaction_that_stays_open_stops_the_replay_with_the_coordinates(options, new_topic, writer):
    topic = new_topic(1)
    write(writer, topic, [1])
    writer.begin_transaction()
    writer.produce(topic, b"2", partition=0)
    writer.flush()
    with pytest.raises(ReplayStalled, match=rf"{topic}\[0\] stands at offset 2 of 3: nothing came") as stalled:
        await replayed(options, topic, stall_timeout_s=0.5)
    assert (stalled.value.position, stalled.value.target) == (2, 3)
    writer.abort_transaction(10)


async def test_a_log_that_ends_before_the_target_stops_the_replay(options, new_topic, writer, monkeypatch):
    topic = new_topic(1)
    write(writer, topic, [1])
    true = module._Reader._watermarks
    asked = []

    def watermarks(reader):
        asked.append(reader)
        low, high = true(reader)
        return low, high if len(asked) > 1 else 50

    monkeypatch.setattr(module._Reader, "_watermarks", watermarks)
    with pytest.raises(ReplayStalled, match="at offset 2 of 50: the log ends at 2"):
        await replayed(options, topic)


async def test_a_partition_that_is_not_there_is_an_error(options, new_topic):
    with pytest.raises(KafkaException):
        await replayed(options, new_topic(1), 5)


async def test_it_can_be_cancelled(options, new_topic, writer):
    topic = new_topic(1)
    write(writer, topic, [1])
    writer.begin_transaction()
    writer.produce(topic, b"2", partition=0)
    writer.flush()
    first = asyncio.Event()
    running = asyncio.create_task(replay(options, topic, 0, lambda _: first.set()))
    await first.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    writer.abort_transaction(10)


async def test_the_end_behind_a_marker_is_seen_at_once(options, new_topic, writer):
    """A broker with nothing more to give may keep a reader for half a second: as long as each command would take."""
    topic = new_topic(1)
    write(writer, topic, [1, 2])
    took_s = []
    for _ in range(3):
        began_s = time.monotonic()
        assert await replayed(options, topic) == [1, 2]
        took_s.append(time.monotonic() - began_s)
    assert min(took_s) < 0.4
