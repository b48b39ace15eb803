"""The committer against a real Kafka, fenced by a real member of a group, in both protocols."""

import asyncio
import os
import struct
import threading
import time
import uuid

import pytest
from confluent_kafka import Consumer, TopicPartition

from streams.contracts.exits import ExitCode
from streams.kafka import committer as module
from streams.kafka.client_config import KafkaOptions, consumer_config, reader_config
from streams.kafka.committer import CommitLimits, Committer, CommitterStopped, LeaseLost
from streams.kafka.lease import Lease
from streams.kafka.message import OutMessage
from streams.kafka.transaction import InstanceTaken, TransactionFailed, Transactions

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


class Member:
    """A member of the group that owns all partitions of a topic and keeps polling."""

    def __init__(self, options, protocol, topic):
        self.metadata = None
        self.leases: list[Lease] = []
        self._consumer = Consumer(consumer_config(options, protocol))
        self._consumer.subscribe([topic], on_assign=self._assigned)
        self._closing = threading.Event()
        self._joined = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()
        assert self._joined.wait(30)

    def _assigned(self, consumer, partitions):
        consumer.incremental_assign([TopicPartition(p.topic, p.partition, 0) for p in partitions])
        self.leases = [Lease(p.topic, p.partition, p.partition, 0, 0.0) for p in partitions]
        self.leases.sort(key=lambda lease: lease.partition)
        self.metadata = consumer.consumer_group_metadata()
        self._joined.set()

    def _poll(self):
        while not self._closing.is_set():
            self._consumer.poll(0.05)
            self.metadata = self._consumer.consumer_group_metadata()
        self._consumer.close()

    def close(self):
        self._closing.set()
        self._thread.join()


class Seen:
    """An observer, and what the committer reports as fatal."""

    def __init__(self):
        self.commits: list[tuple[int, int]] = []
        self.aborts: list[str] = []
        self.expelled: list[bytes] = []
        self.fatal: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def committed(self, units, messages, seconds):
        assert seconds > 0
        self.commits.append((units, messages))

    def aborted(self, cause):
        self.aborts.append(cause)

    def on_fatal(self, code, reason):
        self._loop.call_soon_threadsafe(self.fatal.put_nowait, (code, reason))


class Bench:
    """A committer, the member that fences it, and its topics."""

    def __init__(self, bootstrap, protocol, source, target, **limits):
        self.options = KafkaOptions(bootstrap, uuid.uuid4().hex, "worker-0")
        self.target = target
        self.member = Member(self.options, protocol, source)
        self.leases = self.member.leases
        self.seen = Seen()
        self.metadata = lambda: self.member.metadata
        self.committer = self.another(self.seen, **limits)

    def another(self, seen, **limits):
        return Committer(
            self.options,
            name="route",
            group_metadata=self.snapshot,
            on_expelled=seen.expelled.append,
            on_fatal=seen.on_fatal,
            observe=seen,
            limits=CommitLimits(**limits),
        )

    def snapshot(self):
        return self.metadata()

    def submit(self, lease, *values, next_offset=None):
        messages = [OutMessage(self.target, value, partition=lease.partition) for value in values]
        return self.committer.submit(lease, messages, next_offset)

    async def committed_offsets(self):
        def ask():
            consumer = Consumer(reader_config(self.options))
            places = [TopicPartition(lease.topic, lease.partition) for lease in self.leases]
            found = {each.partition: each.offset for each in consumer.committed(places, timeout=10)}
            consumer.close()
            return found

        return await asyncio.to_thread(ask)


@pytest.fixture(params=["consumer", "classic"])
async def make_bench(request, bootstrap, new_topic):
    made = []

    async def make(**limits):
        made.append(Bench(bootstrap, request.param, new_topic(3), new_topic(3), **limits))
        await made[-1].committer.start()
        return made[-1]

    yield make
    for bench in made:
        await bench.committer.stop()
        await asyncio.to_thread(bench.member.close)


@pytest.fixture
async def bench(make_bench):
    return await make_bench()


def values(messages):
    return [message.value() for message in messages]


async def test_many_units_share_few_transactions(bench, read_committed):
    units = [bench.submit(bench.leases[number % 3], b"%d" % number, next_offset=number + 1) for number in range(600)]
    await asyncio.gather(*units)
    assert len(bench.seen.commits) <= 5
    assert sum(units for units, _ in bench.seen.commits) == 600
    assert await bench.committed_offsets() == {0: 598, 1: 599, 2: 600}
    found = values(await asyncio.to_thread(read_committed, bench.target))
    assert found == [b"%d" % number for partition in range(3) for number in range(partition, 600, 3)]
    assert bench.committer.depth() == (0, 0)


async def test_an_offset_that_does_not_change_is_sent_along_all_the_same(bench):
    lease = bench.leases[1]
    lease.start_offset = 5
    await bench.submit(lease, b"x")
    assert (await bench.committed_offsets())[1] == 5
    await bench.submit(lease, next_offset=9)
    await bench.submit(lease, b"y")
    assert (await bench.committed_offsets())[1] == 9


async def test_freshness_is_the_time_of_the_brokers_last_check(bench):
    first, second = bench.leases[:2]
    assert bench.committer.fresh_at_s(first) is None
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    await bench.submit(first, b"x")
    fresh = bench.committer.fresh_at_s(first)
    assert before <= fresh <= time.clock_gettime(time.CLOCK_BOOTTIME)
    assert bench.committer.fresh_at_s(second) is None
    bench.committer.abandon([first])
    assert bench.committer.fresh_at_s(first) is None


@pytest.mark.faults("F5", "F25")
async def test_nothing_is_committed_on_behalf_of_a_non_member(bench, read_uncommitted):
    asked: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    true = bench.metadata
    no_generation = true()[:7] + struct.pack("=i", -1) + true()[11:]
    answers = iter([None, no_generation] * 3)

    def metadata():
        loop.call_soon_threadsafe(asked.put_nowait, None)
        return next(answers)

    bench.metadata = metadata
    unit = bench.submit(bench.leases[0], b"x", next_offset=1)
    for _ in range(5):
        await asked.get()
    assert not unit.done()
    assert values(await asyncio.to_thread(read_uncommitted, bench.target)) == []
    bench.metadata = true
    await unit
    assert values(await asyncio.to_thread(read_uncommitted, bench.target)) == [b"x"]


@pytest.mark.faults("F25")
async def test_a_stale_generation_aborts_and_the_same_is_tried_again_in_order(bench, read_committed, read_uncommitted):
    true = bench.metadata
    answers = iter([true()[:7] + struct.pack("=i", 10_000) + true()[11:]])
    bench.metadata = lambda: next(answers, None) or true()
    units = [bench.submit(bench.leases[0], b"%d" % number, next_offset=number + 1) for number in range(10)]
    await asyncio.gather(*units)
    assert len(bench.seen.aborts) == 1
    assert bench.seen.aborts[0] in {"ILLEGAL_GENERATION", "STALE_MEMBER_EPOCH", "FENCED_MEMBER_EPOCH"}
    expected = [b"%d" % number for number in range(10)]
    assert values(await asyncio.to_thread(read_committed, bench.target)) == expected
    assert len(await asyncio.to_thread(read_uncommitted, bench.target)) > len(expected)


async def test_units_of_a_lost_lease_are_dropped_and_the_others_committed(bench, read_uncommitted):
    lost, kept = bench.leases[:2]
    true, bench.metadata = bench.metadata, lambda: None
    units = [bench.submit(lost, b"gone", next_offset=1), bench.submit(kept, b"stays", next_offset=1)]
    lost.lost = True
    with pytest.raises(LeaseLost, match=r"\[0\]"):
        await units[0]
    assert not units[1].done()
    bench.metadata = true
    await units[1]
    with pytest.raises(LeaseLost):
        await bench.submit(lost, b"late")
    assert values(await asyncio.to_thread(read_uncommitted, bench.target)) == [b"stays"]
    assert set((await bench.committed_offsets()).items()) >= {(0, -1001), (1, 1)}


async def test_a_lease_that_is_lost_while_its_transaction_is_refused_is_dropped(bench, read_committed):
    lost, kept = bench.leases[:2]
    true = bench.metadata

    def metadata():
        # The first snapshot is refused; by then the lease is gone.
        bench.metadata = true
        return true()[:7] + struct.pack("=i", 10_000) + true()[11:]

    aborted = bench.seen.aborted

    def lose(cause):
        lost.lost = True
        aborted(cause)

    bench.seen.aborted = lose
    bench.metadata = metadata
    units = [bench.submit(lost, b"gone", next_offset=1), bench.submit(kept, b"stays", next_offset=1)]
    with pytest.raises(LeaseLost):
        await units[0]
    await units[1]
    assert values(await asyncio.to_thread(read_committed, bench.target)) == [b"stays"]


async def test_drain_waits_for_the_leases_it_is_asked_for(bench):
    first, second = bench.leases[:2]
    true, bench.metadata = bench.metadata, lambda: None
    unit = bench.submit(first, b"x", next_offset=1)
    assert await bench.committer.drain([second], 0.0)
    assert not await bench.committer.drain([first], 0.05)
    assert not await bench.committer.drain(None, 0.05)
    draining = asyncio.create_task(bench.committer.drain([first], 30))
    bench.metadata = true
    assert await draining
    assert unit.done()
    assert unit.exception() is None


async def test_abandoned_units_fail_at_once(bench):
    bench.metadata = lambda: None
    units = [bench.submit(bench.leases[0], b"x", next_offset=offset) for offset in (1, 2, 3)]
    bench.committer.abandon(bench.leases[:1])
    for unit in units:
        with pytest.raises(LeaseLost):
            await unit
    assert bench.committer.depth() == (0, 0)
    assert await bench.committer.drain(None, 0.0)


async def test_what_waits_at_the_end_is_told(bench):
    bench.metadata = lambda: None
    unit = bench.submit(bench.leases[0], b"x", next_offset=1)
    await bench.committer.stop()
    with pytest.raises(CommitterStopped):
        await unit
    with pytest.raises(CommitterStopped):
        await bench.submit(bench.leases[0], b"y")


async def test_a_waiter_that_went_away_disturbs_nobody(bench):
    gone = bench.submit(bench.leases[0], b"x", next_offset=1)
    gone.cancel()
    await bench.submit(bench.leases[0], b"y", next_offset=2)
    assert (await bench.committed_offsets())[0] == 2


@pytest.mark.faults("F23")
async def test_a_second_worker_with_the_same_name_takes_over_and_the_first_ends(bench):
    await bench.submit(bench.leases[0], b"x", next_offset=1)
    others = Seen()
    second = bench.another(others)
    await second.start()
    waiting = bench.submit(bench.leases[0], b"y", next_offset=2)
    code, reason = await bench.seen.fatal.get()
    assert code == ExitCode.CRASH
    assert "FENCED" in reason
    with pytest.raises(CommitterStopped):
        await waiting
    await second.submit(bench.leases[0], [OutMessage(bench.target, b"y")], 2)
    await second.stop()
    assert others.fatal.empty()


async def test_the_reason_is_told_before_those_who_wait_fail(bench, monkeypatch):
    await bench.submit(bench.leases[0], b"x", next_offset=1)
    failed_first = []

    async def look():
        failed_first.append(waiting.done())

    def told(code, reason):
        # On the loop, so behind whatever was handed to it before.
        asyncio.run_coroutine_threadsafe(look(), loop).result(10)
        bench.seen.on_fatal(code, reason)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(bench.committer, "_on_fatal", told)
    second = bench.another(Seen())
    await second.start()
    waiting = bench.submit(bench.leases[0], b"y", next_offset=2)
    _code, reason = await bench.seen.fatal.get()
    assert failed_first == [False]
    assert "another worker runs as" in reason
    await second.stop()


async def test_a_worker_that_is_fenced_before_it_committed_anything_says_that_its_name_is_taken(bench):
    second = bench.another(Seen())
    await second.start()
    bench.submit(bench.leases[0], b"y", next_offset=2)
    code, reason = await bench.seen.fatal.get()
    assert code == ExitCode.PRECONDITION
    assert "kafka.instance" in reason
    await second.stop()


async def test_a_first_transaction_that_an_outage_kept_open_is_no_reason_to_speak_of_a_taken_name(bench, monkeypatch):
    monkeypatch.setattr(module, "TRANSACTION_TIMEOUT_MS", 100)

    # Stands in for a broker that was away, and ended the transaction when it came back.
    def fenced(*_):
        released.wait(0.2)
        raise TransactionFailed("commit_transaction: PRODUCER_FENCED", fenced=True)

    released = threading.Event()
    monkeypatch.setattr(Transactions, "run", fenced)
    bench.submit(bench.leases[0], b"x", next_offset=1)
    code, reason = await bench.seen.fatal.get()
    assert code == ExitCode.CRASH
    assert "open for" in reason
    assert "kafka.instance" not in reason


async def test_a_start_on_a_taken_name_raises(bench, monkeypatch):
    def taken(_):
        raise InstanceTaken("group.route.worker-0")

    monkeypatch.setattr(Transactions, "init", taken)
    second = bench.another(Seen())
    with pytest.raises(InstanceTaken):
        await second.start()


@pytest.mark.faults("F32")
async def test_a_message_that_the_broker_refuses_ends_the_process(bench, new_topic):
    bench.target = await asyncio.to_thread(new_topic, 3, config={"max.message.bytes": "1000"})
    bench.submit(bench.leases[0], os.urandom(5000), next_offset=1)
    code, reason = await bench.seen.fatal.get()
    assert code == ExitCode.CRASH
    assert "MSG_SIZE_TOO_LARGE" in reason
    assert bench.target in reason


@pytest.mark.faults("F91")
async def test_a_call_that_hangs_ends_the_process(make_bench, monkeypatch):
    bench = await make_bench(call_timeout_s=0.1, watchdog_s=0.3)
    released = threading.Event()

    # Stands in for a transaction call that does not come back from the client library.
    def hang(self, *_):
        with self._watchdog.watch("commit_transaction"):
            released.wait(30)
        return 0.0

    monkeypatch.setattr(Transactions, "run", hang)
    bench.submit(bench.leases[0], b"x", next_offset=1)
    code, reason = await bench.seen.fatal.get()
    released.set()
    assert (code, reason) == (ExitCode.WATCHDOG, "commit_transaction has not returned for 0.3 s")


@pytest.mark.faults("F91")
async def test_a_bug_ends_the_process(bench, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(module, "offsets_of", broken)
    waiting = bench.submit(bench.leases[0], b"x", next_offset=1)
    code, reason = await bench.seen.fatal.get()
    assert (code, reason) == (ExitCode.CRASH, "ZeroDivisionError in the committer: a bug")
    with pytest.raises(CommitterStopped):
        await waiting
