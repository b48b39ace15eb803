"""What each error of the client library leads to, on a producer that answers as told."""

import threading
import time

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.contracts.exits import ExitCode
from streams.kafka import transaction
from streams.kafka.message import OutMessage
from streams.kafka.transaction import InstanceTaken, TransactionAborted, TransactionFailed, Transactions
from streams.kafka.watchdog import Watchdog

OFFSETS = [TopicPartition("intents", 0, 7)]
HAPPY = ["begin_transaction", "produce", "flush", "send_offsets_to_transaction", "commit_transaction"]
ABORTED = ["flush", "abort_transaction"]


def retriable(code=KafkaError._TIMED_OUT):
    return KafkaError(code, "asked again", False, True)


def abortable(code=KafkaError.ILLEGAL_GENERATION):
    return KafkaError(code, "to be aborted", False, False, True)


def fatal(code=KafkaError._FENCED):
    return KafkaError(code, "fenced", True)


class Scripted:
    """Answers each call with the next error of its name, then with success."""

    def __init__(self, answers, undelivered):
        self.answers = {name: list(errors) for name, errors in answers.items()}
        self.undelivered = undelivered
        self.calls: list[str] = []
        self.produced: list[tuple[object, ...]] = []
        self.missing = False
        self.polls = 0

    def __call__(self, config):
        self.config = config
        return self

    def _answer(self, name):
        self.calls.append(name)
        left = self.answers.get(name)
        if left and (error := left.pop(0)) is not None:
            raise error if isinstance(error, Exception) else KafkaException(error)

    def init_transactions(self, timeout):
        self._answer("init_transactions")

    def begin_transaction(self):
        self._answer("begin_transaction")

    def produce(self, *given, **named):
        self._answer("produce")
        self.produced.append((*given, named))

    def flush(self, timeout):
        self._answer("flush")
        for error in self.undelivered:
            self.config["on_delivery"](error, Report())
        self.undelivered = []
        return 0

    def poll(self, timeout):
        self.polls += 1

    def send_offsets_to_transaction(self, offsets, metadata, timeout):
        self._answer("send_offsets_to_transaction")
        assert (offsets, metadata) == (OFFSETS, b"metadata")

    def commit_transaction(self, timeout):
        self._answer("commit_transaction")

    def abort_transaction(self, timeout):
        self._answer("abort_transaction")

    def list_topics(self, topic, timeout):
        return Topics(topic, KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART) if self.missing else None)


class Report:
    def topic(self):
        return "outcomes"


class Topics:
    def __init__(self, topic, error):
        self.error = error
        self.topics = {topic: self}


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr(transaction, "_RETRY_PAUSE_S", 0.0)

    def make(*, undelivered=(), **answers):
        producer = Scripted(answers, list(undelivered))
        monkeypatch.setattr(transaction, "Producer", producer)
        watchdog = Watchdog(60, lambda call: None)
        return producer, Transactions("route", {"transactional.id": "group.route.worker-0"}, watchdog, 5.0)

    return make


def run(transactions, value=b"value"):
    return transactions.run([[OutMessage("outcomes", value, b"key", 3, (("h", b"1"),))]], OFFSETS, b"metadata")


def test_a_transaction_produces_flushes_fences_and_commits(scripted):
    producer, transactions = scripted()
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    checked_at_s = run(transactions)
    assert before <= checked_at_s <= time.clock_gettime(time.CLOCK_BOOTTIME)
    assert producer.calls == HAPPY
    assert producer.produced == [("outcomes", b"value", b"key", 3, {"headers": [("h", b"1")]})]


@pytest.mark.faults("F72", "F75")
def test_a_commit_without_an_answer_is_asked_again_and_nothing_else(scripted):
    producer, transactions = scripted(commit_transaction=[retriable(), retriable()])
    run(transactions)
    assert producer.calls == [*HAPPY, "commit_transaction", "commit_transaction"]
    assert producer.polls == 2, "the client's own log lines come out in between"


def test_freshness_counts_from_the_first_attempt_to_send_offsets(scripted, monkeypatch):
    _, transactions = scripted(send_offsets_to_transaction=[retriable(), retriable()])
    ticks = iter([10.0, 20.0, 30.0])
    monkeypatch.setattr(time, "clock_gettime", lambda _: next(ticks))
    assert run(transactions) == 10.0


@pytest.mark.parametrize("step", ["send_offsets_to_transaction", "commit_transaction"])
@pytest.mark.faults("F25")
def test_an_abortable_error_is_flushed_and_aborted(scripted, step):
    producer, transactions = scripted(**{step: [abortable()]})
    with pytest.raises(TransactionAborted) as aborted:
        run(transactions)
    assert aborted.value.cause == "ILLEGAL_GENERATION"
    assert producer.calls == [*HAPPY[: HAPPY.index(step) + 1], *ABORTED]
    run(transactions)


@pytest.mark.faults("F31", "F71")
def test_a_message_that_was_not_delivered_aborts_before_offsets_are_sent(scripted):
    producer, transactions = scripted(undelivered=[KafkaError(KafkaError._MSG_TIMED_OUT)])
    with pytest.raises(TransactionAborted, match="1 messages undelivered, the first for topic outcomes"):
        run(transactions)
    assert producer.calls == [*HAPPY[:3], *ABORTED]
    producer.calls.clear()
    run(transactions)
    assert producer.calls == HAPPY


def test_a_transaction_that_failed_while_producing_is_aborted(scripted):
    producer, transactions = scripted(produce=[KafkaError(KafkaError._STATE)])
    with pytest.raises(TransactionAborted):
        run(transactions)
    assert producer.calls == [*HAPPY[:2], *ABORTED]


def test_a_full_queue_is_flushed_once(scripted):
    producer, transactions = scripted(produce=[BufferError("full")])
    run(transactions)
    assert producer.calls == [*HAPPY[:2], "flush", *HAPPY[1:]]


@pytest.mark.parametrize("step", ["begin_transaction", "send_offsets_to_transaction", "commit_transaction"])
@pytest.mark.faults("F72")
def test_a_fatal_error_ends_without_an_abort(scripted, step):
    producer, transactions = scripted(**{step: [fatal()]})
    with pytest.raises(TransactionFailed, match="fenced") as failed:
        run(transactions)
    assert failed.value.fenced
    assert producer.calls[-1] == step


@pytest.mark.parametrize("raised", [SystemError(), KafkaException(fatal())], ids=["beside a report", "alone"])
def test_a_fatal_error_that_a_flush_raises_is_told_by_the_next_call(scripted, raised):
    producer, transactions = scripted(flush=[raised], send_offsets_to_transaction=[fatal()])
    with pytest.raises(TransactionFailed, match="send_offsets: _FENCED") as failed:
        run(transactions)
    assert failed.value.fenced
    assert producer.calls == HAPPY[:4]


@pytest.mark.parametrize(
    "error", [fatal(), abortable(), KafkaError(KafkaError._STATE)], ids=["fatal", "again", "state"]
)
def test_an_abort_that_fails_ends(scripted, error):
    _, transactions = scripted(commit_transaction=[abortable()], abort_transaction=[error])
    with pytest.raises(TransactionFailed):
        run(transactions)


def test_an_abort_without_an_answer_is_asked_again(scripted):
    producer, transactions = scripted(commit_transaction=[abortable()], abort_transaction=[retriable()])
    with pytest.raises(TransactionAborted):
        run(transactions)
    assert producer.calls[-2:] == ["abort_transaction", "abort_transaction"]


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({"produce": [KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)]}, id="too large for the client"),
        pytest.param({"undelivered": [KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)]}, id="too large for the broker"),
        pytest.param({"undelivered": [KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)]}, id="topic forbidden"),
        pytest.param(
            {"send_offsets_to_transaction": [abortable(KafkaError.GROUP_AUTHORIZATION_FAILED)]}, id="group forbidden"
        ),
        pytest.param(
            {
                "undelivered": [KafkaError(KafkaError._PURGE_QUEUE)],
                "send_offsets_to_transaction": [abortable(KafkaError.TOPIC_AUTHORIZATION_FAILED)],
            },
            id="topic forbidden to the transaction",
        ),
    ],
)
@pytest.mark.faults("F15", "F32")
def test_what_kafka_would_refuse_again_ends(scripted, answers):
    producer, transactions = scripted(**answers)
    with pytest.raises(TransactionFailed, match="Kafka refuses") as failed:
        run(transactions, value=b"+4915112345678")
    assert "4915112345678" not in str(failed.value)
    assert "commit_transaction" not in producer.calls


@pytest.mark.faults("F32")
def test_a_missing_topic_is_named_with_its_remedy(scripted):
    producer, transactions = scripted(undelivered=[KafkaError(KafkaError._MSG_TIMED_OUT)])
    producer.missing = True
    with pytest.raises(TransactionFailed, match="topic outcomes does not exist: run `callstream topics apply`"):
        run(transactions)


@pytest.mark.faults("F23")
def test_a_start_that_is_fenced_means_that_the_instance_is_taken(scripted):
    _, transactions = scripted(init_transactions=[retriable(), fatal()])
    with pytest.raises(InstanceTaken, match=r"group\.route\.worker-0") as taken:
        transactions.init()
    assert taken.value.exit_code == ExitCode.PRECONDITION


@pytest.mark.faults("F1")
def test_a_start_without_an_answer_ends_in_time(scripted, monkeypatch):
    monkeypatch.setattr(transaction, "START_TIMEOUT_S", -1.0)
    producer, transactions = scripted(init_transactions=[retriable(), retriable()])
    with pytest.raises(TransactionFailed, match="init_transactions"):
        transactions.init()
    assert producer.calls == ["init_transactions"]


def test_offsets_are_asked_for():
    with pytest.raises(AssertionError, match="fenced by nothing"):
        Transactions("route", {"transactional.id": "x", "log_level": 0}, Watchdog(60, print), 5.0).run(
            [], [], b"metadata"
        )


def test_a_call_that_hangs_is_told_once():
    told: list[str] = []
    expired = threading.Event()

    def tell(call):
        told.append(call)
        expired.set()

    watchdog = Watchdog(0.1, tell)
    watchdog.start()
    with watchdog.watch("commit_transaction"):
        assert expired.wait(10)
    watchdog._thread.join(10)
    assert told == ["commit_transaction"]


def test_calls_that_return_in_time_are_never_told():
    told: list[str] = []
    watchdog = Watchdog(0.2, told.append)
    watchdog.start()
    until = time.monotonic() + 0.6
    while time.monotonic() < until:
        with watchdog.watch("flush"):
            pass
    watchdog.stop()
    watchdog._thread.join(10)
    assert told == []
