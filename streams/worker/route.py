"""``route``: intents in, parcels and dead letters out. Stateless; scales with the partitions of the intents topic.

What must stay true: what a chunk became and the offset behind it are one unit, so each message is in one parcel, is
one dead letter, or has expired, exactly once for readers of committed messages.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from confluent_kafka import Message

from streams import failpoint
from streams.contracts.dead_letter import dead_letter
from streams.contracts.outcome import OutcomeFacts, Source, Status
from streams.contracts.parcel import Parcel, Row, encode_parcels
from streams.intake.reader import Expired, Refused, ValidIntent, read_intent
from streams.intake.rules import IntakeRules
from streams.kafka.committer import Committer, LeaseLost
from streams.kafka.lease import Chunk, Lease
from streams.kafka.message import OutMessage
from streams.kafka.partitions import partition_of
from streams.kafka.received import headers_of, offset_of
from streams.telemetry.metrics import Metrics
from streams.worker.clock import read_clock
from streams.worker.contiguous import Contiguous
from streams.worker.encode import Encoder

# Chunks that wait for their commit: 16 of 2 MiB bound memory, and is far more than one transaction takes.
UNITS_WAITING_MAX = 16


@dataclass(slots=True)
class Routed:
    """What became of the messages of one chunk. ``invalid`` counts them by reason code."""

    messages: list[OutMessage] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    valid: int = 0
    expired: int = 0
    invalid: Counter[str] = field(default_factory=Counter)


class Router:
    """Routes chunks. ``partitions`` is the number of partitions of the parcels topic.

    ``note`` gives what is to be written together with an offset of an intents partition. ``saw`` is told of each chunk
    how many messages it had, and how many were invalid by reason.
    """

    def __init__(
        self,
        rules: IntakeRules,
        encoder: Encoder,
        partitions: int,
        committer: Committer,
        metrics: Metrics,
        note: Callable[[Lease, int], Sequence[OutMessage]],
        saw: Callable[[Lease, int, Counter[str]], None],
    ) -> None:
        self._rules = rules
        self._encoder = encoder
        self._partitions = partitions
        self._committer = committer
        self._metrics = metrics
        self._note = note
        self._saw = saw
        self._count_valid = metrics.intents.labels("valid").inc
        self._partition_by_account: dict[str, int] = {}
        self._contiguous = Contiguous()
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def run(self, chunks: AsyncIterable[Chunk]) -> None:
        """Route chunks until there are no more; at most :data:`UNITS_WAITING_MAX` wait for their commit.

        Raises:
            ChunkMissing: A chunk is not the next one of its lease.
        """
        async for chunk in chunks:
            if not chunk.lease.alive:
                continue
            self._contiguous.check(chunk)
            routed = self.route(chunk, read_clock().wall_ms)
            self._count(routed)
            self._saw(chunk.lease, len(chunk.messages), routed.invalid)
            if failpoint.hit is not None and routed.messages:
                failpoint.hit("after_validate")
            step = "dlq" if routed.invalid else ""
            messages = [*routed.messages, *self._note(chunk.lease, chunk.next)]
            self._waiting.append(self._committer.submit(chunk.lease, messages, chunk.next, step))
            while self._waiting and (self._waiting[0].done() or len(self._waiting) >= UNITS_WAITING_MAX):
                await _committed(self._waiting.popleft())

    def route(self, chunk: Chunk, now_ms: int) -> Routed:
        """Decide about each message of a chunk."""
        routed = Routed()
        rows = routed.rows
        for message in chunk.messages:
            read = read_intent(message.value(), headers_of(message), self._rules, now_ms)
            if isinstance(read, ValidIntent):
                # A row without its name: it is only written, and orjson writes a plain tuple in half the time.
                row = (offset_of(message), *read[1:11], message.timestamp()[1], read.traceparent)
                rows.setdefault(read.account_id, []).append(cast("Row", row))
                if read.unknown_fields or read.disliked_reason:
                    self._warn(read)
            elif isinstance(read, Refused):
                self._refuse(message, _source(chunk, message), read, routed, now_ms)
            else:
                self._expire(_source(chunk, message), read, routed, now_ms)
        routed.valid = sum(len(of_account) for of_account in rows.values())
        for account_id, of_account in rows.items():
            parcel = Parcel(account_id, chunk.lease.topic, chunk.lease.partition, of_account)
            routed.messages.extend(self._parcels(parcel))
        return routed

    def _warn(self, intent: ValidIntent) -> None:
        warnings = self._metrics.intent_warnings
        if intent.unknown_fields:
            warnings.labels("unknown_field").inc(intent.unknown_fields)
        if intent.disliked_reason:
            warnings.labels("reason_characters").inc()

    def _refuse(self, message: Message, source: Source, refused: Refused, routed: Routed, now_ms: int) -> None:
        letter = dead_letter(
            source=source,
            stage="route",
            reason=refused.reason,
            failed_at_ms=now_ms,
            key=message.key(),
            value=message.value(),
            headers=headers_of(message) or (),
        )
        facts = OutcomeFacts(
            refused.intent_id,
            refused.account_id,
            Status.INVALID,
            source,
            reason=refused.reason,
            attributes=refused.attributes,
        )
        routed.invalid[refused.reason.code] += 1
        routed.messages += [self._encoder.dead(letter), self._encoder.outcome(facts, now_ms)]

    def _expire(self, source: Source, expired: Expired, routed: Routed, now_ms: int) -> None:
        facts = OutcomeFacts(
            expired.intent_id,
            expired.account_id,
            Status.EXPIRED,
            source,
            reason=expired.reason,
            attributes=expired.attributes,
        )
        routed.expired += 1
        routed.messages.append(self._encoder.outcome(facts, now_ms))

    def _parcels(self, parcel: Parcel) -> list[OutMessage]:
        account_id = parcel.account_id
        partition = self._partition_by_account.get(account_id)
        if partition is None:
            partition = partition_of(account_id.encode(), self._partitions)
            self._partition_by_account[account_id] = partition
        self._metrics.parcel_records.observe(len(parcel.rows))
        topic, key = self._encoder.topics.parcels, account_id.encode()
        return [OutMessage(topic, value, key, partition) for value in encode_parcels(parcel)]

    def _count(self, routed: Routed) -> None:
        metrics = self._metrics
        self._count_valid(routed.valid)
        if routed.expired:
            metrics.intents.labels("expired").inc(routed.expired)
            metrics.outcomes.labels("expired").inc(routed.expired)
        for code, count in routed.invalid.items():
            metrics.intents.labels("invalid").inc(count)
            metrics.outcomes.labels("invalid").inc(count)
            metrics.dead_letters.labels(code).inc(count)


def _source(chunk: Chunk, message: Message) -> Source:
    return Source(chunk.lease.topic, chunk.lease.partition, offset_of(message))


async def _committed(unit: asyncio.Future[None]) -> None:
    with contextlib.suppress(LeaseLost):  # the partition's next owner reads the chunk again
        await unit
