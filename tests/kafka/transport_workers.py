"""Workers, load and waiting for the transport's tests: real Faust apps in the test's own process and loop."""

import asyncio
import contextlib
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from typing import Any

import faust
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.kafka.client_config import KafkaOptions
from streams.kafka.lease import Chunk, Lease
from streams.kafka.transport import FAUST_SETTINGS, Ownership, TransportOptions, chunk_topic, install

PROTOCOLS = ("classic", "consumer")


class Worker:
    """One Faust app with one agent, which notes what it gets. ``options`` are those of ``TransportOptions``.

    With a ``producer`` the ``revoked`` hook commits what was processed, in a transaction fenced by the group metadata.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        group: str,
        protocol: Any,
        *,
        name: str = "w",
        producer: Producer | None = None,
        **options: Any,
    ) -> None:
        self.name = name
        self.kafka = KafkaOptions(bootstrap, group, name, protocol, session_timeout_s=6.0)
        self.chunks: list[tuple[float, Chunk]] = []
        self.assigned_at_s: dict[Lease, float] = {}
        self.revoked_at_s: dict[Lease, float] = {}
        self.lost: list[Lease] = []
        self.fatal: list[tuple[int, str]] = []
        self._producer = producer
        self.revoke_s = 0.0
        self.agent_may_go = asyncio.Event()
        self.agent_may_go.set()
        self.on_assigned: Callable[[Lease], Any] | None = None
        self.on_revoked: Callable[[], Any] | None = None
        self._happened = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.app = faust.App(f"test-{group}-{name}", **FAUST_SETTINGS)
        settings: dict[str, Any] = {"kafka": self.kafka, "hooks": self, "on_fatal": self._on_fatal} | options
        self.owned: Ownership = install(self.app, TransportOptions(**settings))
        self.app.agent(chunk_topic(self.app, topic))(self._agent)

    async def _agent(self, stream: Any) -> None:
        async for event in stream.events():
            await self.agent_may_go.wait()
            chunk: Chunk = event.value
            if chunk.lease.alive:
                self.chunks.append((time.monotonic(), chunk))
                self._happened.set()

    async def assigned(self, lease: Lease) -> None:
        self.assigned_at_s[lease] = time.monotonic()
        self._happened.set()
        if self.on_assigned is not None:
            await self.on_assigned(lease)

    async def revoked(self, leases: Sequence[Lease], *, lost: bool) -> None:
        if lost:
            self.lost.extend(leases)
        else:
            await asyncio.sleep(self.revoke_s)  # what a slow hook takes; nothing is waited for
            if self.on_revoked is not None:
                await self.on_revoked()
            if self._producer is not None:
                await asyncio.to_thread(self._commit, self._producer, leases)
        now_s = time.monotonic()
        self.revoked_at_s.update(dict.fromkeys(leases, now_s))
        self._happened.set()

    def _commit(self, producer: Producer, leases: Sequence[Lease]) -> None:
        metadata = self.owned.group_metadata()
        assert metadata is not None, "still a member inside the hook"
        positions = self.positions()
        offsets = [
            TopicPartition(each.topic, each.partition, positions.get(each, each.start_offset)) for each in leases
        ]
        producer.begin_transaction()
        producer.send_offsets_to_transaction(offsets, metadata, 10)
        producer.commit_transaction(10)

    def _on_fatal(self, code: int, reason: str) -> None:
        self.fatal.append((code, reason))
        self._loop.call_soon_threadsafe(self._happened.set)

    def positions(self) -> dict[Lease, int]:
        return {chunk.lease: chunk.next for _, chunk in self.chunks}

    def records(self) -> int:
        return sum(len(chunk.messages) for _, chunk in self.chunks)

    def offsets(self) -> dict[int, list[int]]:
        """Offsets of the messages that were processed, by partition, in the order of processing."""
        found: dict[int, list[int]] = defaultdict(list)
        for _, chunk in self.chunks:
            found[chunk.lease.partition].extend(message.offset() or 0 for message in chunk.messages)
        return found

    def by_lease(self) -> dict[Lease, list[Chunk]]:
        found: dict[Lease, list[Chunk]] = defaultdict(list)
        for _, chunk in self.chunks:
            found[chunk.lease].append(chunk)
        return found

    def longest_gap_s(self, partition: int, since_s: float) -> float:
        times = [
            since_s,
            *(at_s for at_s, chunk in self.chunks if chunk.lease.partition == partition and at_s > since_s),
        ]
        return max((later - earlier for earlier, later in pairwise(times)), default=0.0)

    async def until(self, condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
        """Wait until ``condition`` holds; it is looked at whenever something happened here, and now and then."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self._happened.clear()
                    with contextlib.suppress(TimeoutError):  # a partition that is blocked does not happen here
                        await asyncio.wait_for(self._happened.wait(), 0.1)
        except TimeoutError:
            held = sorted(lease.partition for lease in self.owned.leases())
            raise AssertionError(
                f"{self.name}: not within {timeout_s} s; {held=}, {self.records()=}, {self.fatal=}"
            ) from None

    async def until_owning(self, partitions: int) -> None:
        await self.until(lambda: len(self.owned.leases()) == partitions)


@asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    """Start the apps, and stop them in order at the end."""
    started: list[Worker] = []
    try:
        for worker in workers:
            started.append(worker)
            await worker.app.start()
        yield
    finally:
        for worker in started:
            worker.agent_may_go.set()
            await worker.app.stop()


@contextmanager
def load(bootstrap: str, topic: str, *, partitions: int, per_s: int) -> Iterator[Callable[[], int]]:
    """Produce evenly over all partitions until the end. The value tells how many were sent."""
    stop = threading.Event()
    sent = 0

    def produce() -> None:
        nonlocal sent
        producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
        while not stop.wait(0.02):
            for _ in range(max(1, per_s // 50)):
                producer.produce(topic, b"x" * 100, partition=sent % partitions)
                sent += 1
            producer.poll(0)
        producer.flush(10)

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        yield lambda: sent
    finally:
        stop.set()
        thread.join()


def fill(bootstrap: str, topic: str, *, partitions: int, records: int, size: int = 100) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "queue.buffering.max.messages": 0})
    for number in range(records):
        producer.produce(topic, b"x" * size, partition=number % partitions)
    assert producer.flush(20) == 0


def transactional(bootstrap: str) -> Producer:
    producer = Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": uuid.uuid4().hex, "retry.backoff.ms": 10, "linger.ms": 0}
    )
    producer.init_transactions(10)
    return producer


def with_transactions(bootstrap: str, topic: str, *, partition: int, outcomes: Sequence[str]) -> None:
    """Ten records in each transaction, which then commits or aborts."""
    producer = transactional(bootstrap)
    for outcome in outcomes:
        producer.begin_transaction()
        for _ in range(10):
            producer.produce(topic, b"x", partition=partition)
        producer.flush(10)
        end = producer.commit_transaction if outcome == "commit" else producer.abort_transaction
        end(10)


def commit(bootstrap: str, group: str, topic: str, offsets: Mapping[int, int]) -> None:
    """Set the offsets of a group that nobody is in."""
    wanted = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    deadline = time.monotonic() + 20
    while True:
        altered = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)])
        errors = [each.error for each in altered[group].result(10).topic_partitions if each.error is not None]
        if not errors:
            return
        # The first question about groups makes a fresh broker create the topic that answers it.
        assert time.monotonic() < deadline, errors
        time.sleep(0.05)


def delete_before(bootstrap: str, topic: str, offsets: Mapping[int, int]) -> None:
    """Have the broker forget records, as retention does."""
    wanted = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for deleted in admin.delete_records(wanted).values():
        deleted.result(10)
