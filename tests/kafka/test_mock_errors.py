"""What a committer makes of the errors a broker may answer with: tried again, aborted, or the end of the process."""

import asyncio
import itertools
import uuid
from collections import Counter

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from streams.contracts.exits import ExitCode
from streams.kafka.client_config import KafkaOptions, reader_config
from streams.kafka.committer import CommitLimits, Committer
from streams.kafka.embedded import CLIENT_PROPERTIES, EmbeddedKafka
from streams.kafka.lease import Lease
from streams.kafka.message import OutMessage
from streams.kafka.transaction import Transactions
from tests.kafka.mock_errors import API_KEYS, DISCONNECT, broker_down, forget_errors, push_errors

pytestmark = pytest.mark.slow

MEMBER = b"CGMDv2:\x05\0\0\0group\0id-1\0\x01"
MESSAGES = 100
TARGET = "target"
PARTITIONS = 60

_partitions = itertools.count()


@pytest.fixture(scope="module")
def mock():
    with EmbeddedKafka({TARGET: PARTITIONS, "source": 1}) as kafka:
        yield kafka


class Bench:
    """A committer with a partition of its own to write to, and what it reports."""

    def __init__(self, mock, partition):
        extra = CLIENT_PROPERTIES | {"log_level": "0"}
        self.options = KafkaOptions(mock.bootstrap_servers, uuid.uuid4().hex, "worker-0", extra=extra)
        self.partition = partition
        self.aborts: list[str] = []
        self.expelled: list[bytes] = []
        self.fatal: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
        self.loop = asyncio.get_running_loop()
        self.committer = Committer(
            self.options,
            name="lanes",
            group_metadata=lambda: MEMBER,
            on_expelled=self.expelled.append,
            on_fatal=self.ended,
            observe=self,
            limits=CommitLimits(call_timeout_s=1.0, watchdog_s=3.0),
        )
        self.lease = Lease("source", 0, 0, 0, 0.0)

    def ended(self, code, reason):
        self.loop.call_soon_threadsafe(self.fatal.put_nowait, (code, reason))

    def committed(self, units, messages, seconds):
        pass

    def aborted(self, cause):
        self.aborts.append(cause)

    def submit(self):
        messages = [OutMessage(TARGET, b"%d" % number, partition=self.partition) for number in range(MESSAGES)]
        return self.committer.submit(self.lease, messages, 1)

    async def copies(self):
        """How often each message stands in the log (the mock cluster shows what was aborted, too)."""
        return await asyncio.to_thread(self._copies)

    def _copies(self):
        reader = Consumer(reader_config(self.options))
        found = []
        _, end = reader.get_watermark_offsets(TopicPartition(TARGET, self.partition), timeout=10)
        reader.assign([TopicPartition(TARGET, self.partition, 0)])
        position = 0
        while position < end:
            for message in reader.consume(1000, 0.1):
                error = message.error()
                if error is None:
                    found.append(message.value())
                elif error.code() == KafkaError._PARTITION_EOF:
                    position = end
        reader.close()
        return found


@pytest.fixture
async def bench(mock):
    made = Bench(mock, next(_partitions))
    yield made
    for request in API_KEYS:
        forget_errors(mock, request)
    await made.committer.stop()


NOT_COORDINATOR = KafkaError.NOT_COORDINATOR
LOADING = KafkaError.COORDINATOR_LOAD_IN_PROGRESS
IN_ORDER = [b"%d" % number for number in range(MESSAGES)]

RETRIED = [
    pytest.param("AddOffsetsToTxn", [NOT_COORDINATOR, LOADING], id="F3-coordinator-moves-at-add-offsets"),
    pytest.param("TxnOffsetCommit", [NOT_COORDINATOR, LOADING], id="F3-coordinator-moves-at-commit-offsets"),
    pytest.param("EndTxn", [NOT_COORDINATOR, LOADING], id="F3-coordinator-moves-at-the-end"),
    pytest.param("Produce", [KafkaError.NOT_LEADER_FOR_PARTITION] * 2, id="F31-F73-leader-moves"),
    pytest.param("Produce", [KafkaError.LEADER_NOT_AVAILABLE] * 2, id="F31-no-leader"),
    pytest.param("Produce", [KafkaError.REQUEST_TIMED_OUT] * 2, id="F31-timed-out"),
    pytest.param("Produce", [KafkaError.NOT_ENOUGH_REPLICAS] * 3, id="F73-too-few-replicas"),
    pytest.param("Produce", [KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND] * 2, id="F73-too-few-after-append"),
    pytest.param("Produce", [DISCONNECT], id="F31-F71-connection-lost-while-producing"),
    pytest.param("EndTxn", [KafkaError.COORDINATOR_NOT_AVAILABLE] * 2, id="F72-F75-commit-not-yet"),
    pytest.param("EndTxn", [KafkaError.CONCURRENT_TRANSACTIONS] * 2, id="F72-F75-last-commit-still-under-way"),
    pytest.param("EndTxn", [DISCONNECT], id="F72-F75-answer-to-the-commit-lost"),
    pytest.param("TxnOffsetCommit", [DISCONNECT], id="F75-answer-to-the-offsets-lost"),
]


@pytest.mark.parametrize(("request_name", "codes"), RETRIED)
async def test_what_passes_is_tried_again_and_nothing_is_written_twice(mock, bench, request_name, codes):
    await bench.committer.start()
    push_errors(mock, request_name, codes)
    await bench.submit()
    assert bench.aborts == []
    assert await bench.copies() == IN_ORDER


@pytest.mark.faults("F76")
async def test_offsets_carry_a_short_mark_at_most(mock, bench, monkeypatch):
    sent = []
    run = Transactions.run

    def watched(self, batches, offsets, metadata):
        sent.extend(offsets)
        return run(self, batches, offsets, metadata)

    monkeypatch.setattr(Transactions, "run", watched)
    await bench.committer.start()
    await bench.submit()
    assert [(each.topic, each.partition, each.offset) for each in sent] == [("source", 0, 1)]
    assert all(len(each.metadata or "") <= 64 for each in sent), "Kafka takes 4096 bytes"


LOST = [
    pytest.param(KafkaError.ILLEGAL_GENERATION, id="F25-illegal-generation"),
    pytest.param(KafkaError.UNKNOWN_MEMBER_ID, id="F25-unknown-member"),
    pytest.param(KafkaError.FENCED_INSTANCE_ID, id="F25-fenced-instance"),
]


@pytest.mark.parametrize("code", LOST)
async def test_a_member_that_the_group_does_not_know_aborts_and_tries_again_while_the_lease_lives(mock, bench, code):
    await bench.committer.start()
    push_errors(mock, "TxnOffsetCommit", [code])
    await bench.submit()
    assert bench.aborts == [KafkaError(code).name()]
    assert bench.expelled == ([MEMBER] if code == KafkaError.UNKNOWN_MEMBER_ID else [])
    copies = await bench.copies()
    assert Counter(copies) == Counter(IN_ORDER * 2), "the first were aborted"


REFUSED = [
    pytest.param("Produce", KafkaError.TOPIC_AUTHORIZATION_FAILED, "Kafka refuses", id="F15-F32-topic-forbidden"),
    pytest.param("AddPartitionsToTxn", KafkaError.TOPIC_AUTHORIZATION_FAILED, "refuses", id="F32-topic-not-ours"),
    pytest.param("TxnOffsetCommit", KafkaError.GROUP_AUTHORIZATION_FAILED, "refuses", id="F15-group-forbidden"),
    pytest.param("Produce", KafkaError.MSG_SIZE_TOO_LARGE, "Kafka refuses", id="F33-larger-than-the-topic-takes"),
    pytest.param("EndTxn", KafkaError.INVALID_PRODUCER_EPOCH, "another worker runs", id="F72-fenced-at-the-end"),
    pytest.param("EndTxn", KafkaError.PRODUCER_FENCED, "another worker runs", id="F72-fenced-by-a-newer-producer"),
    pytest.param("AddOffsetsToTxn", KafkaError.INVALID_PRODUCER_EPOCH, "another worker runs", id="F72-fenced-before"),
]


@pytest.mark.parametrize(("request_name", "code", "words"), REFUSED)
async def test_what_will_not_pass_ends_the_process_with_a_reason(mock, bench, request_name, code, words):
    await bench.committer.start()
    push_errors(mock, request_name, [code] * 3)
    unit = bench.submit()
    ended, reason = await asyncio.wait_for(bench.fatal.get(), 20)
    assert ended in {ExitCode.CRASH, ExitCode.PRECONDITION}
    assert words in reason
    await asyncio.wait([unit])
    assert unit.exception() is not None, "nobody is told that it is durable"


@pytest.mark.faults("F3")
async def test_a_coordinator_that_is_not_found_costs_at_most_the_process(mock, bench):
    """Librdkafka may never come back from this call: the watchdog ends the process, which starts again."""
    await bench.committer.start()
    push_errors(mock, "FindCoordinator", [KafkaError.COORDINATOR_NOT_AVAILABLE] * 3)
    unit = asyncio.ensure_future(bench.submit())
    ended = asyncio.ensure_future(bench.fatal.get())
    await asyncio.wait([unit, ended], return_when=asyncio.FIRST_COMPLETED, timeout=10)
    if not unit.done():
        code, reason = ended.result()
        assert code == ExitCode.WATCHDOG
        assert "send_offsets has not returned" in reason
    ended.cancel()


@pytest.mark.faults("F71", "F31")
async def test_a_broker_that_is_away_makes_everything_wait_and_nothing_lost(mock, bench):
    await bench.committer.start()
    with broker_down(mock):
        unit = bench.submit()
        done, _ = await asyncio.wait([unit], timeout=2)
        assert not done
    await unit
    assert set(await bench.copies()) == set(IN_ORDER)
