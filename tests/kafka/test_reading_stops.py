"""What cannot be read stops its partition, in the middle of a run too; other partitions are read on."""

import re
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.kafka import ownership
from streams.kafka.replay import JournalUnreadable, replay
from tests.kafka.transport_workers import Worker, delete_before, fill, running

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]


@pytest.fixture
def group():
    return uuid.uuid4().hex


def produce(at, topic, partition, *values):
    """One batch for each value list."""
    producer = Producer({"bootstrap.servers": at, "linger.ms": 50, "compression.type": "none"})
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(20) == 0


@pytest.mark.faults("F8")
async def test_a_log_that_is_cut_in_the_middle_of_a_run(bootstrap, new_topic, group):
    topic = new_topic(2)
    worker = Worker(bootstrap, topic, group, "consumer")
    worker.agent_may_go.clear()
    async with running(worker):
        await worker.until_owning(2)
        fill(bootstrap, topic, partitions=1, records=20_000)
        paused = [claim for claim in worker.owned._claims.values() if claim.partition == 0]
        await worker.until(lambda: any(claim.holds for claim in paused))
        delete_before(bootstrap, topic, {0: 19_000})
        worker.agent_may_go.set()
        await worker.until(lambda: "are gone from the log" in worker.owned.blocked().get((topic, 0), ""))
        reached = worker.offsets()[0][-1] + 1
        await worker.until(lambda: worker.records() == reached)
        assert f"{19_000 - reached} offsets [{reached}, 19000)" in worker.owned.blocked()[(topic, 0)]
        produce(bootstrap, topic, 1, b"x")
        await worker.until(lambda: worker.offsets()[1] == [0])
    assert worker.offsets()[0] == list(range(reached))
    assert worker.fatal == []


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def flip(batch):
    """A byte of the content, as a disk does."""
    batch[-10] ^= 255


def claim_zstd(batch):
    """Say that the records are compressed, with a checksum that is right."""
    batch[22] |= 4
    batch[17:21] = crc32c(bytes(batch[21:])).to_bytes(4, "big")


def damage(log: Path, wanted: bytes, how):
    """Change the batch that holds ``wanted``, in the broker's file."""
    data = bytearray(log.read_bytes())
    start = 0
    while start < len(data):
        size = 12 + int.from_bytes(data[start + 8 : start + 12], "big")
        if wanted in data[start : start + size]:
            batch = data[start : start + size]
            how(batch)
            with log.open("r+b") as file:
                file.seek(start)
                file.write(batch)
            return
        start += size
    raise AssertionError(f"{wanted!r} is in no batch")


@pytest.mark.faults("F12", "F13")
@pytest.mark.parametrize(
    ("how", "words"),
    [pytest.param(flip, "CRC32C", id="checksum"), pytest.param(claim_zstd, "Decompression", id="codec")],
)
async def test_a_damaged_batch_stops_its_partition(kafka, new_topic, group, how, words):
    at = kafka.bootstrap
    topic = new_topic(2, at=at)
    produce(at, topic, 0, b"one", b"two")
    produce(at, topic, 0, b"three", b"hit here, and only here", b"five")
    produce(at, topic, 0, b"six", b"seven")
    damage(kafka.nodes[0].directory / "data" / f"{topic}-0" / f"{0:020}.log", b"hit here", how)
    worker = Worker(at, topic, group, "consumer")
    async with running(worker):
        await worker.until(lambda: (topic, 0) in worker.owned.blocked())
        reason = worker.owned.blocked()[(topic, 0)]
        produce(at, topic, 0, b"eight")
        produce(at, topic, 1, b"x")
        await worker.until(lambda: worker.offsets()[1] == [0])
    assert worker.offsets()[0] == [0, 1], "the client would have gone on behind it"
    # Where reading could go on is known if it came with the same answer of the broker.
    assert re.search(r"\[0\]: offsets \[2, (5|\?)\) cannot be read: ", reason), reason
    assert words in reason
    assert worker.fatal == []
    applied: list[bytes] = []
    with pytest.raises(JournalUnreadable, match=rf"\[0\]: offsets \[2, (5|\?)\) cannot be read: .*{words}"):
        await replay(worker.kafka, topic, 0, lambda messages: applied.extend(m.value() or b"" for m in messages))
    assert applied in ([], [b"one", b"two"])


@pytest.mark.faults("F10")
async def test_a_topic_that_is_replaced_under_a_running_worker(bootstrap, new_topic, group, monkeypatch):
    monkeypatch.setattr(ownership, "LAG_EVERY_S", 0.2)
    topic = new_topic(1)
    fill(bootstrap, topic, partitions=1, records=50)
    worker = Worker(bootstrap, topic, group, "classic")
    async with running(worker):
        await worker.until(lambda: worker.records() == 50)
        (lease,) = worker.owned.leases()
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.delete_topics([topic], operation_timeout=10)[topic].result(20)
        admin.create_topics([NewTopic(topic, 1)])[topic].result(20)
        await worker.until(lambda: (topic, 0) in worker.owned.blocked() or lease not in worker.owned.leases())
        fill(bootstrap, topic, partitions=1, records=100)
        await worker.until(lambda: "created anew" in worker.owned.blocked().get((topic, 0), "") or not lease.alive)
    assert sum(len(chunk.messages) for chunk in worker.by_lease()[lease]) == 50
    assert worker.fatal == []
