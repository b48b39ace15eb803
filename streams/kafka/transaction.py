"""One Kafka transaction after the other: begin, produce, flush, offsets, commit, and what each error means.

Blocking, for one thread. What must stay true: :meth:`Transactions.run` returns only if the transaction is committed,
and raises :class:`TransactionAborted` only if it is aborted; there is no third end that a caller may go on after. A
commit whose answer is unknown is asked again, never aborted: it may have happened.

Fatal, abortable, retriable errors:
https://github.com/confluentinc/librdkafka/blob/v2.16.0/INTRODUCTION.md#transactional-producer
Transactions are KIP-98, fencing by the consumer group's metadata KIP-447.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from streams import failpoint
from streams.contracts.exits import ExitCode, OperatorError
from streams.kafka.client_config import TRANSACTION_TIMEOUT_MS
from streams.kafka.message import OutMessage
from streams.kafka.watchdog import Watchdog

START_TIMEOUT_S: Final = 60.0
_RETRY_PAUSE_S: Final = 0.05

# The library's own codes begin with an underscore and are public all the same.
_FAILED_BEFORE: Final = frozenset({KafkaError._STATE, KafkaError._FATAL})  # noqa: SLF001
_TIMED_OUT: Final = KafkaError._TIMED_OUT  # noqa: SLF001
# Messages that were never sent, because their transaction had failed for another reason.
_PURGED: Final = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})  # noqa: SLF001
# A newer producer has our transactional id, or the broker ended our transaction because it took too long.
_FENCED: Final = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})  # noqa: SLF001
# Trying again would be refused again: an operator has to mend something.
_REFUSED: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.INVALID_REQUIRED_ACKS,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
    }
)


class InstanceTaken(OperatorError):
    """Another worker runs under the same instance name: each must have its own."""

    exit_code = ExitCode.PRECONDITION

    def __init__(self, transactional_id: str) -> None:
        super().__init__(
            f"another worker runs as {transactional_id}: give every worker its own kafka.instance (and every "
            "deployment its own kafka.group_id)"
        )


class TransactionAborted(Exception):
    """Nothing of the transaction happened; the same may be tried again. ``cause`` is Kafka's name of the error."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause


class TransactionFailed(Exception):
    """This producer cannot go on, and whether the transaction happened is unknown: the process has to end."""

    def __init__(self, reason: str, *, fenced: bool = False) -> None:
        super().__init__(reason)
        self.fenced = fenced


class _Abortable(Exception):
    def __init__(self, error: KafkaError, detail: str) -> None:
        super().__init__(error, detail)
        self.error = error
        self.detail = detail


class Transactions:
    """A transactional producer. ``call_timeout_s`` bounds a single call; calls that time out are asked again.

    ``name`` is its committer's.
    """

    def __init__(self, name: str, config: Mapping[str, Any], watchdog: Watchdog, call_timeout_s: float) -> None:
        self._name = name
        self._watchdog = watchdog
        self._call_timeout_s = call_timeout_s
        self._transactional_id = str(config["transactional.id"])
        self._undelivered: list[tuple[KafkaError, str]] = []
        # Reports of failures only: a callback for each message would cost as much as producing it.
        reports = {"on_delivery": self._on_undelivered, "delivery.report.only.error": True}
        self._producer = Producer({**config, **reports})

    def init(self) -> None:
        """Take over the transactional id: an open transaction of the predecessor is aborted.

        Raises:
            InstanceTaken: somebody else took it over at the same time.
            TransactionFailed: Kafka refuses, or does not answer within 60 s.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        try:
            self._until_done("init_transactions", self._producer.init_transactions, deadline=deadline)
        except TransactionFailed as failed:
            if failed.fenced:
                raise InstanceTaken(self._transactional_id) from failed
            raise

    def run(self, batches: Iterable[Sequence[OutMessage]], offsets: Sequence[TopicPartition], metadata: bytes) -> float:
        """Commit the messages of ``batches`` in order, and ``offsets``, fenced by the group ``metadata``.

        Returns:
            CLOCK_BOOTTIME in seconds of the start of the call in which the broker checked the membership.

        Raises:
            TransactionAborted: nothing happened.
            TransactionFailed: the process has to end.
        """
        assert offsets, "a transaction without offsets is fenced by nothing"
        self._undelivered.clear()
        self._until_done("begin_transaction", lambda _: self._producer.begin_transaction())
        try:
            self._produce(batches)
            self._flush()
            self._reached("offsets")
            checked_at_s = time.clock_gettime(time.CLOCK_BOOTTIME)
            self._send_offsets(offsets, metadata)
            self._reached("before")
            self._until_done("commit_transaction", self._producer.commit_transaction)
        except _Abortable as failed:
            abortable = self._explained(failed, offsets, metadata)
            self._abort()
            self._refuse(abortable)
            raise TransactionAborted(abortable.error.name(), abortable.detail) from abortable
        self._reached("after")
        return checked_at_s

    def _reached(self, when: str) -> None:
        if failpoint.hit is not None:
            failpoint.hit(f"{self._name}_commit_{when}")

    def close(self) -> None:
        """Let go of the producer, between two transactions."""
        with self._watchdog.watch("close"):
            self._producer.close()

    def _produce(self, batches: Iterable[Sequence[OutMessage]]) -> None:
        produce = self._producer.produce
        for messages in batches:
            for topic, value, key, partition, headers in messages:
                try:
                    produce(topic, value, key, partition, headers=list(headers))
                except BufferError:
                    # Only with an operator's smaller queue.buffering.max.kbytes; what still does not fit never will.
                    self._flush()
                    produce(topic, value, key, partition, headers=list(headers))
                except KafkaException as raised:
                    error: KafkaError = raised.args[0]
                    if error.code() in _FAILED_BEFORE:
                        # It failed in the background; the abort or the delivery reports tell why.
                        raise _Abortable(error, error.str()) from raised
                    raise TransactionFailed(f"Kafka refuses a message for topic {topic}: {error.str()}") from raised

    def _flush(self) -> None:
        while self._flushed_rest():
            pass
        if self._undelivered:
            error, topic = self._undelivered[0]
            raise _Abortable(error, f"{len(self._undelivered)} messages undelivered, the first for topic {topic}")

    def _flushed_rest(self) -> int:
        try:
            with self._watchdog.watch("flush"):
                return self._producer.flush(self._call_timeout_s)
        except (KafkaException, SystemError):
            # A fatal error of the producer is raised by whatever runs callbacks (as SystemError where it is raised next
            # to a delivery report). Every later call answers with it, and says more.
            return 0

    def _send_offsets(self, offsets: Sequence[TopicPartition], metadata: bytes) -> None:
        send = self._producer.send_offsets_to_transaction
        self._until_done("send_offsets", lambda timeout_s: send(list(offsets), metadata, timeout_s))

    def _explained(self, failed: _Abortable, offsets: Sequence[TopicPartition], metadata: bytes) -> _Abortable:
        """Find out why messages were purged: the next call of a transaction that has failed is answered with that."""
        if failed.error.code() not in _PURGED:
            return failed
        try:
            self._send_offsets(offsets, metadata)
        except _Abortable as cause:
            return cause
        return failed

    def _abort(self) -> None:
        # An abort with messages still on their way can be fatal (librdkafka #4849). They all arrive or time out.
        deadline = time.monotonic() + TRANSACTION_TIMEOUT_MS / 1000
        while self._flushed_rest() and time.monotonic() < deadline:
            pass
        try:
            self._until_done("abort_transaction", self._producer.abort_transaction)
        except _Abortable as again:
            raise TransactionFailed(f"a transaction cannot be aborted: {again.detail}") from again

    def _until_done(self, name: str, call: Callable[[float], object], deadline: float | None = None) -> None:
        while True:
            try:
                with self._watchdog.watch(name):
                    call(self._call_timeout_s)
            except KafkaException as raised:
                error: KafkaError = raised.args[0]
                text = f"{name}: {error.name()}: {error.str()}"
                if error.txn_requires_abort():
                    raise _Abortable(error, text) from raised
                self._let_the_client_speak()
                late = deadline is not None and time.monotonic() > deadline
                if late or error.fatal() or not (error.retriable() or error.code() == _TIMED_OUT):
                    raise TransactionFailed(text, fenced=error.code() in _FENCED) from raised
                time.sleep(_RETRY_PAUSE_S)  # blocks the committer's thread only
            else:
                return

    def _let_the_client_speak(self) -> None:
        # Its log lines wait until they are served. A fatal error that comes with them is told by the next call too.
        with suppress(KafkaException, SystemError):
            self._producer.poll(0)

    def _refuse(self, abortable: _Abortable) -> None:
        errors = [abortable.error, *(error for error, _ in self._undelivered)]
        refused = next((error for error in errors if error.code() in _REFUSED), None)
        if refused is not None:
            raise TransactionFailed(f"Kafka refuses: {refused.name()}: {abortable.detail}") from abortable
        if missing := self._missing_topic():
            raise TransactionFailed(
                f"topic {missing} does not exist: run `callstream topics apply`, then start again"
            ) from abortable

    def _missing_topic(self) -> str | None:
        """A topic to which nothing could be delivered because it does not exist, as far as the cluster answers."""
        for topic in sorted({topic for _, topic in self._undelivered}):
            try:
                with self._watchdog.watch("list_topics"):
                    error = self._producer.list_topics(topic, self._call_timeout_s).topics[topic].error
            except KafkaException:
                # It would not answer for the others either, each of which would take as long.
                return None
            if error is not None and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return topic
        return None

    def _on_undelivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._undelivered.append((error, message.topic() or ""))
