"""The thread that owns the group consumer.

Every call on the consumer is made here. The client lets one thread in at a time, unfairly, and nobody at all while a
rebalance callback runs, so a call from elsewhere may wait for seconds or for ever. Others leave their calls in a queue,
which is served between two polls and while a callback waits for the application. Polling goes on whatever the
application does, so back-pressure never costs the membership.

What must stay true: on a revocation the leases end before anything else happens; a partition is read only between
``begin`` and its revocation, from an explicit offset; nothing that comes after what could not be read is handed over,
though the client itself would skip a damaged batch; a fatal error of the client, or any error here, ends the process.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams import failpoint
from streams.contracts.exits import ExitCode
from streams.kafka.chunks import Cutter
from streams.kafka.claim import Backlog, Claim, Hold
from streams.kafka.client_config import GroupProtocol, consumer_config
from streams.kafka.client_log import SPARING
from streams.kafka.lease import Chunk
from streams.kafka.listener import Listener
from streams.kafka.membership import is_member
from streams.kafka.read_errors import HINDERED, Stop, readable_from, stop_of
from streams.kafka.transport_options import TransportOptions
from streams.kafka.watchdog import Watchdog

logger = logging.getLogger(__name__)

# A call of the main loop waits at most this long while nothing arrives.
POLL_S: Final = 0.05
# How long to wait for company for the first message of a chunk.
GATHER_S: Final = 0.01
# How often the group metadata is read while a callback waits for the application.
SERVE_S: Final = 0.05
# A broker that does not answer a kick within this is away, and needs no waking.
KICK_TIMEOUT_S: Final = 0.2
# After a rebalance the client resumes fetching a little after the callback has returned: kick that long.
KICK_AFTER_REBALANCE_S: Final = 0.3
COMPLAIN_EVERY_S: Final = 10.0
# A turn that takes longer than giving up partitions may, and this, hangs inside the client. Together they stay below
# the poll interval, after which the group would have taken the partitions anyway.
STUCK_S: Final = 20.0

# A message about all partitions of a topic.
_ANY_PARTITION: Final = -1

# A fatal error comes as code _FATAL; what happened is in its text only.
_REFUSALS: Final = tuple(
    KafkaError(code).str()
    for code in (KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE)  # noqa: SLF001 - a published code
)


class ClientFailed(Exception):
    """The consumer has failed for good."""


class RevokeTimeout(Exception):
    """The application did not finish in time with partitions that the group takes."""


class _ProtocolRefused(Exception):
    """The cluster does not know the new group protocol."""


class PollThread:
    """Runs the group consumer. ``start`` and ``stop`` once each; the other methods from any thread, at any time."""

    def __init__(self, options: TransportOptions, listener: Listener) -> None:
        self.ended: Future[None] = Future()
        self._options = options
        self._listener = listener
        self._topics: list[str] = []
        self._protocol: GroupProtocol = "classic" if options.kafka.group_protocol == "classic" else "consumer"
        self._calls: queue.SimpleQueue[Callable[[Consumer], None]] = queue.SimpleQueue()
        self._claims: dict[tuple[str, int], Claim] = {}
        self._numbers = count()
        self._metadata: bytes | None = None
        self._expelled: bytes | None = None
        self._stopping = False
        self._orderly = True
        self._client_log = logging.Logger(f"{__name__}.client")  # noqa: LOG001 - its filter must not outlive this instance
        self._client_log.parent = logger
        # The client calls a refusal that we answer a fatal error, in a line of its own.
        self._client_log.addFilter(lambda record: not self._is_refusal(record.getMessage()))
        self._client_log.addFilter(SPARING)
        self._kicks: set[Claim] = set()
        self._kick_all_until_s = 0.0
        self._complained_s: dict[int, float] = {}
        self._watchdog = Watchdog(options.revoke_timeout_s + STUCK_S, self._on_stuck)

    @property
    def group_metadata(self) -> bytes | None:
        """What fences a transaction, as of the last poll. ``None`` while we are no member: then do not commit."""
        return self._metadata

    def expelled(self, metadata: bytes) -> None:
        """The group knows no member as in this ``metadata``: what it had is lost, also if the client has not heard."""
        self._expelled = metadata

    def start(self, topics: Sequence[str]) -> None:
        """Join the group."""
        self._topics = sorted(topics)
        # A daemon: a call that hangs inside the client must not keep the process from ending.
        threading.Thread(target=self._run, name="callstream-poll", daemon=True).start()

    def stop(self, *, orderly: bool) -> None:
        """Give up all partitions, as in a revocation if ``orderly`` and as lost otherwise, and leave the group.

        ``ended`` tells when that is done.
        """
        self._orderly = self._orderly and orderly
        self._stopping = True
        self._calls.put(lambda _consumer: None)

    def begin(self, claim: Claim) -> None:
        """Read the partition, from the start of its lease."""

        def begin(consumer: Consumer) -> None:
            lease = claim.lease
            if not claim.current or lease is None:
                return
            claim.cutter = Cutter(
                lease, records_max=self._options.chunk_records_max, bytes_max=self._options.chunk_bytes_max
            )
            consumer.incremental_assign([TopicPartition(claim.topic, claim.partition, lease.start_offset)])
            if claim.holds:
                consumer.pause([_where(claim)])

        self._calls.put(begin)

    def hold(self, claim: Claim, why: Hold) -> None:
        """Stop reading the partition until ``why`` is released. What was handed over still arrives."""
        self._calls.put(lambda consumer: self._hold(consumer, claim, why))

    def stop_reading(self, claim: Claim) -> None:
        """Read this partition no more, under this claim."""
        self._calls.put(lambda consumer: self._hold(consumer, claim, Hold.STOPPED))

    def release(self, claim: Claim, why: Hold) -> None:
        """Read the partition again, unless something else holds it."""

        def release(consumer: Consumer) -> None:
            held = bool(claim.holds)
            claim.holds.discard(why)
            if held and not claim.holds and claim.current and claim.cutter is not None:
                consumer.resume([_where(claim)])
                self._kicks.add(claim)

        self._calls.put(release)

    def _hold(self, consumer: Consumer, claim: Claim, why: Hold) -> None:
        held = bool(claim.holds)
        claim.holds.add(why)
        if not held and claim.current and claim.cutter is not None:
            consumer.pause([_where(claim)])

    # --- The thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._watchdog.start()
        try:
            while not self._stopping:
                self._be_member()
        except Exception as error:  # noqa: BLE001 - the client could not be made, or not be closed
            self._fail(error)
        finally:
            self._metadata = None
            self._watchdog.stop()
            self.ended.set_result(None)

    def _be_member(self) -> None:
        consumer = Consumer(consumer_config(self._options.kafka, self._protocol) | {"logger": self._client_log})
        try:
            consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not self._stopping:
                with self._watchdog.watch("poll"):
                    self._turn(consumer)
        except _ProtocolRefused as refusal:
            logger.warning("group protocol 'consumer' is refused (%s), going on with 'classic'", refusal)
            self._protocol = "classic"
        except Exception as error:  # noqa: BLE001 - whatever it was, a worker that does not poll must not live on
            self._orderly, self._stopping = False, True
            # Before the client is closed, which may hang behind the very thing that went wrong.
            self._fail(error)
        finally:
            # Serves the revocation of what is left, then leaves the group.
            with self._watchdog.watch("close"):
                consumer.close()

    def _turn(self, consumer: Consumer) -> None:
        self._serve(consumer)
        self._read_metadata(consumer)
        self._kick(consumer)
        first = consumer.poll(POLL_S)
        if first is None:
            return
        reader = self._claims.get(_key(first))
        rest = consumer.consume(self._options.chunk_records_max - 1, GATHER_S)
        # A rebalance may have run inside `consume`; the first message is then of a lease that has ended.
        stale = self._claims.get(_key(first)) is not reader
        self._hand_over(consumer, rest if stale else [first, *rest])

    def _hand_over(self, consumer: Consumer, messages: Sequence[Message]) -> None:
        read: dict[Claim, list[Message]] = {}
        stopped: dict[Claim, Stop] = {}
        for message in messages:
            claim = self._claims.get(_key(message))
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - a published code
                if claim is not None and (stop := stop_of(message, error)) is not None:
                    stopped.setdefault(claim, stop)
                else:
                    self._on_message_error(message, error)
            elif claim is not None and claim.cutter is not None and Hold.STOPPED not in claim.holds:
                if claim in stopped:
                    stopped[claim] = readable_from(stopped[claim], message)
                else:
                    read.setdefault(claim, []).append(message)
        self._cut(consumer, read)
        for claim, stop in stopped.items():
            self._stop(consumer, claim, stop)

    def _cut(self, consumer: Consumer, read: Mapping[Claim, list[Message]]) -> None:
        handed: list[tuple[Claim, Chunk]] = []
        for claim, of_claim in read.items():
            assert claim.cutter is not None
            for chunk, size in claim.cutter.cut(of_claim):
                handed.append((claim, chunk))
                if claim.backlog.add(chunk, size):
                    self._hold(consumer, claim, Hold.BACKLOG)
            # Not a mark of the end: the client repeats one while it is still refused.
            if claim.hindered and any(message.error() is None for message in of_claim):
                claim.hindered = False
                self._listener.flowing(claim)
        if handed:
            if failpoint.hit is not None and any(chunk.messages for _, chunk in handed):
                failpoint.hit("after_poll")
            self._listener.handed(handed)

    def _stop(self, consumer: Consumer, claim: Claim, stop: Stop) -> None:
        if claim.cutter is None or Hold.STOPPED in claim.holds:
            return
        self._hold(consumer, claim, Hold.STOPPED)
        # Markers of transactions, and what the client has thrown away in a pause, may lie in between.
        self._listener.stopped_reading(claim, stop._replace(offset=claim.cutter.position))

    def _serve(self, consumer: Consumer) -> None:
        while True:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                return
            call(consumer)

    def _read_metadata(self, consumer: Consumer) -> None:
        metadata = consumer.consumer_group_metadata()
        self._metadata = metadata if metadata is not None and is_member(metadata) else None

    def _kick(self, consumer: Consumer) -> None:
        # After everything was paused, the client's broker threads sleep for up to a second. Any request wakes them.
        if time.monotonic() < self._kick_all_until_s:
            self._kicks.update(claim for claim in self._claims.values() if claim.cutter is not None)
        kicks, self._kicks = self._kicks, set()
        for claim in kicks:
            if not claim.current or claim.holds:
                continue
            try:
                consumer.get_watermark_offsets(_where(claim), timeout=KICK_TIMEOUT_S)
            except KafkaException:
                return

    # --- Rebalances: called by the client, inside `poll`, `consume` and `close` ---------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        assigned_at_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        # The group hears that we have them. Reading begins later, one by one, so that a slow start stops nobody else.
        consumer.incremental_assign([])
        self._read_metadata(consumer)
        self._kick_all_until_s = time.monotonic() + KICK_AFTER_REBALANCE_S
        claims = [
            Claim(each.topic, each.partition, next(self._numbers), assigned_at_s, Backlog(self._options.marks))
            for each in partitions
        ]
        assert not any((claim.topic, claim.partition) in self._claims for claim in claims), "assigned twice"
        self._claims.update({(claim.topic, claim.partition): claim for claim in claims})
        self._listener.assigned(claims)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        claims = self._end(partitions)
        # The client may call a loss a revocation; without membership there is nothing to wait for.
        self._read_metadata(consumer)
        lost = not self._orderly or self._metadata is None
        self._take_away(consumer, claims, lost=lost)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        claims = self._end(partitions)
        self._metadata = None
        self._take_away(consumer, claims, lost=True)

    def _end(self, partitions: Sequence[TopicPartition]) -> list[Claim]:
        claims = [self._claims.pop((each.topic, each.partition)) for each in partitions]
        for claim in claims:
            claim.end()
        return claims

    def _take_away(self, consumer: Consumer, claims: Sequence[Claim], *, lost: bool) -> None:
        if lost:
            for claim in claims:
                claim.lose()
        done = self._listener.revoked(claims, lost=lost)
        try:
            if not lost:
                self._wait_for(done, consumer, claims)
        finally:
            for claim in claims:
                claim.lose()
        consumer.incremental_unassign([_where(claim) for claim in claims if claim.cutter is not None])
        self._kick_all_until_s = time.monotonic() + KICK_AFTER_REBALANCE_S

    def _wait_for(self, done: "Future[None]", consumer: Consumer, claims: Sequence[Claim]) -> None:
        deadline_s = time.monotonic() + self._options.revoke_timeout_s
        done.add_done_callback(lambda _done: self._calls.put(lambda _consumer: None))
        while not done.done():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                done.cancel()
                raise RevokeTimeout(f"giving up partitions took more than {self._options.revoke_timeout_s:g} s")
            with suppress(queue.Empty):
                self._calls.get(timeout=min(left_s, SERVE_S))(consumer)
            self._read_metadata(consumer)
            if self._metadata is not None and self._metadata == self._expelled:
                # Nothing can be committed for them any more, and whoever waits for that hears so.
                for claim in claims:
                    claim.lose()
        done.result()

    # --- Errors -------------------------------------------------------------------------------------------------------

    def _on_message_error(self, message: Message, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001 - a published code
            raise _ProtocolRefused(error.str()) if self._is_refusal(error.str()) else ClientFailed(error.str())
        if error.code() in HINDERED:
            for claim in self._claims.values():
                if claim.topic == message.topic() and message.partition() in (claim.partition, _ANY_PARTITION):
                    claim.hindered = True
                    self._listener.hindered(claim, f"{claim.topic}[{claim.partition}]: {error.str()}")
        now_s = time.monotonic()
        if now_s - self._complained_s.get(error.code(), -COMPLAIN_EVERY_S) >= COMPLAIN_EVERY_S:
            self._complained_s[error.code()] = now_s
            logger.warning("Kafka consumer: %s: %s", error.name(), error.str())

    def _fail(self, error: Exception) -> None:
        self._options.on_fatal(ExitCode.CRASH, f"the Kafka consumer failed: {type(error).__name__}: {error}")

    def _on_stuck(self, call: str) -> None:
        self._options.on_fatal(ExitCode.WATCHDOG, f"the Kafka consumer hangs in {call}")

    def _is_refusal(self, text: str) -> bool:
        may_fall_back = self._options.kafka.group_protocol == "auto" and self._protocol == "consumer"
        return may_fall_back and any(refusal in text for refusal in _REFUSALS)


def _key(message: Message) -> tuple[str, int]:
    return message.topic() or "", -1 if message.partition() is None else int(message.partition() or 0)


def _where(claim: Claim) -> TopicPartition:
    return TopicPartition(claim.topic, claim.partition)
