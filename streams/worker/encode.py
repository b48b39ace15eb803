"""What a lane or ``route`` wants written, as Kafka messages. Pure.

Decided here: which topic, key, partition and headers a message gets, and which outcomes are told one by one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import orjson

from streams.contracts.dead_letter import DeadLetter, dead_letter
from streams.contracts.journal import HeadEntry, Held, JournalKey, encode_entry
from streams.contracts.outcome import (
    BATCH_ACCEPTED_TYPE,
    BATCH_COMPLETED_TYPE,
    INTENT_OUTCOME_TYPE,
    OutcomeFacts,
    Reason,
    Source,
    cloud_event_headers,
    encode_batch_event,
    encode_intent_outcome,
)
from streams.contracts.request import encode_request
from streams.kafka.lease import Lease
from streams.kafka.message import OutMessage
from streams.kafka.topic_names import TopicNames
from streams.lane.actions import Outcomes, Write

OutcomesLevel = Literal["intent", "batch", "both"]


@dataclass(frozen=True, slots=True)
class Encoder:
    """Turns writes into messages. ``event_source`` is the CloudEvents source of this deployment."""

    topics: TopicNames
    event_source: str
    outcomes_level: OutcomesLevel = "both"

    def write(self, write: Write, account_id: str, journal_partition: int, now_ms: int) -> list[OutMessage]:
        """The messages of a lane's write; its journal entries go to the partition of the account's parcels."""
        journal = self.topics.journal
        messages = [OutMessage(journal, value, key.encode(), journal_partition) for key, value in write.entries]
        for group in write.outcomes:
            messages.extend(self._outcomes(group, account_id, now_ms))
        if self.outcomes_level != "intent":
            messages.extend(self._events(write, now_ms))
        for held, reason in write.dead:
            messages.append(self.rejected(held, reason, account_id, now_ms))
        requests, key = self.topics.requests, account_id.encode()
        messages.extend(OutMessage(requests, encode_request(record), key) for record in write.requests)
        return messages

    def head(self, lease: Lease, offset: int, now_ms: int) -> OutMessage:
        """The journal's note that ``offset`` of a parcels partition is committed, to be written together with that."""
        entry = HeadEntry(lease.topic_id, offset, now_ms)
        return OutMessage(self.topics.journal, encode_entry(entry), str(JournalKey("head")).encode(), lease.partition)

    def _outcomes(self, group: Outcomes, account_id: str, now_ms: int) -> Iterator[OutMessage]:
        if group.counted and self.outcomes_level == "batch":
            return
        record_ids = group.record_ids or [None] * len(group.held)
        for held, record_id in zip(group.held, record_ids, strict=True):
            row = held.row
            facts = OutcomeFacts(
                row.intent_id,
                account_id,
                group.status,
                Source(held.source_topic, held.source_partition, row.source_offset),
                group.sequence,
                group.batch_ref,
                group.batch_id,
                record_id,
                group.reason,
                group.possible_duplicate,
                row.attributes,
            )
            yield self.outcome(facts, now_ms, row.traceparent)

    def outcome(self, facts: OutcomeFacts, now_ms: int, traceparent: str | None = None) -> OutMessage:
        """One intent outcome, keyed by the intent's id, or by its source where that is unreadable."""
        source = facts.source
        place = f"{source.topic}/{source.partition}/{source.offset}"
        headers = cloud_event_headers(INTENT_OUTCOME_TYPE, f"{place}/{facts.sequence}", self.event_source, traceparent)
        key = (facts.intent_id or place).encode()
        return OutMessage(self.topics.outcomes, encode_intent_outcome(facts, now_ms), key, headers=headers)

    def _events(self, write: Write, now_ms: int) -> Iterator[OutMessage]:
        for facts in write.events:
            kind = BATCH_ACCEPTED_TYPE if facts.event == "accepted" else BATCH_COMPLETED_TYPE
            headers = cloud_event_headers(kind, f"{facts.batch_ref}/{facts.event}", self.event_source)
            value = encode_batch_event(facts, now_ms)
            yield OutMessage(self.topics.outcomes, value, facts.batch_ref.encode(), headers=headers)

    def rejected(self, held: Held, reason: Reason, account_id: str, now_ms: int) -> OutMessage:
        """The dead letter of an intent that the API refused: the intent as JSON, ready to be published again."""
        row = held.row
        intent = {
            "intent_id": row.intent_id,
            "account_id": account_id,
            "caller": row.caller,
            "receiver": row.receiver,
            "label_id": row.label_id,
            "label_name": row.label_name,
            "call_reason": row.call_reason,
            "starts_at": row.starts_at,
            "ends_at": row.ends_at,
            "priority": row.priority,
            "attributes": row.attributes,
        }
        letter = dead_letter(
            source=Source(held.source_topic, held.source_partition, row.source_offset),
            stage="submit",
            reason=reason,
            failed_at_ms=now_ms,
            key=row.intent_id.encode(),
            value=orjson.dumps({name: content for name, content in intent.items() if content is not None}),
        )
        return self.dead(letter)

    def dead(self, letter: DeadLetter) -> OutMessage:
        """A dead letter as a message."""
        return OutMessage(self.topics.dead_letters, letter.value, letter.key, headers=letter.headers)
