"""Outcomes: what became of an intent or of a batch, as consumers read it.

Exactly one final outcome per intent; ``sequence`` counts an intent's outcomes from 0 without gaps, so a consumer can
order and de-duplicate by source and sequence alone. No phone number ever appears here. Messages are CloudEvents 1.0 in
binary mode (Kafka protocol binding): the value is plain JSON, the attributes are ``ce_`` headers.
"""

from enum import StrEnum
from typing import Annotated, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field

INTENT_OUTCOME_TYPE = "io.callstream.intent.outcome.v1"
BATCH_ACCEPTED_TYPE = "io.callstream.batch.accepted.v1"
BATCH_COMPLETED_TYPE = "io.callstream.batch.completed.v1"

EpochMs = Annotated[int, Field(ge=0, description="Epoch milliseconds, UTC.")]


class Status(StrEnum):
    """What became of an intent. All but ``accepted`` and ``unresolved`` are final."""

    INVALID = "invalid"
    EXPIRED = "expired"
    REJECTED = "rejected"
    ACCEPTED = "accepted"
    UNRESOLVED = "unresolved"
    DELIVERED = "delivered"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Whether nothing more will be said about an intent with this status."""
        return self not in _OPEN


_OPEN = frozenset({Status.ACCEPTED, Status.UNRESOLVED})


class Reason(NamedTuple):
    """Why: a stable ``code`` to branch on and a ``message`` for people, free of personal data."""

    code: str
    message: str


class Source(NamedTuple):
    """Where an intent came from."""

    topic: str
    partition: int
    offset: int


class _Model(BaseModel):
    # Our own tests hold what we write against exactly these fields; the published schema is open, because later
    # releases may add fields and consumers are to ignore what they do not know.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        hide_input_in_errors=True,
        json_schema_extra={"additionalProperties": True},
    )


class OutcomeReason(_Model):
    """Why an outcome is what it is."""

    code: Annotated[str, Field(description="Stable, for programs.")]
    message: Annotated[str, Field(description="For people. Never holds personal data.")]


class OutcomeSource(_Model):
    """The coordinates of the intent this outcome speaks of."""

    topic: str
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]


class IntentOutcome(_Model):
    """One change in what is known about one intent."""

    intent_id: Annotated[str | None, Field(description="The dialer's id; null where the intent was unreadable.")]
    account_id: str | None
    status: Literal["invalid", "expired", "rejected", "accepted", "unresolved", "delivered", "failed", "unknown"]
    final: Annotated[bool, Field(description="True on exactly one outcome of each intent.")]
    batch_ref: Annotated[str | None, Field(description="callstream's name of the batch, a UUIDv7.")]
    batch_id: Annotated[str | None, Field(description="The API's name of the batch, opaque.")]
    record_id: Annotated[str | None, Field(description="The API's name of the record, where it gave one.")]
    reason: OutcomeReason | None
    possible_duplicate: Annotated[bool, Field(description="The intent may have reached the API more than once.")]
    source: OutcomeSource
    sequence: Annotated[int, Field(ge=0, description="0, 1, 2… for each intent, without gaps.")]
    occurred_at: EpochMs
    attributes: Annotated[dict[str, str], Field(description="Copied from the intent.")]


class BatchCounts(_Model):
    """How many records of the batch ended in which status."""

    accepted: Annotated[int, Field(ge=0)] = 0
    delivered: Annotated[int, Field(ge=0)] = 0
    failed: Annotated[int, Field(ge=0)] = 0
    unknown: Annotated[int, Field(ge=0)] = 0


class BatchEvent(_Model):
    """A batch was accepted by the API, or its last record became final."""

    event: Literal["accepted", "completed"]
    account_id: str
    batch_ref: str
    batch_id: str | None
    records: Annotated[int, Field(ge=1, le=500)]
    counts: BatchCounts
    reason: OutcomeReason | None
    possible_duplicate: bool
    occurred_at: EpochMs


class OutcomeFacts(NamedTuple):
    """All that distinguishes one intent outcome from another: the input of :func:`encode_intent_outcome`."""

    intent_id: str | None
    account_id: str | None
    status: Status
    source: Source
    sequence: int = 0
    batch_ref: str | None = None
    batch_id: str | None = None
    record_id: str | None = None
    reason: Reason | None = None
    possible_duplicate: bool = False
    attributes: dict[str, str] | None = None


def encode_intent_outcome(facts: OutcomeFacts, occurred_at_ms: int) -> bytes:
    """The value of one outcome message. Valid under :class:`IntentOutcome`, built by hand: hot path."""
    source, reason = facts.source, facts.reason
    return orjson.dumps(
        {
            "intent_id": facts.intent_id,
            "account_id": facts.account_id,
            "status": facts.status,
            "final": facts.status not in _OPEN,
            "batch_ref": facts.batch_ref,
            "batch_id": facts.batch_id,
            "record_id": facts.record_id,
            "reason": None if reason is None else {"code": reason.code, "message": reason.message},
            "possible_duplicate": facts.possible_duplicate,
            "source": {"topic": source.topic, "partition": source.partition, "offset": source.offset},
            "sequence": facts.sequence,
            "occurred_at": occurred_at_ms,
            "attributes": facts.attributes or {},
        }
    )


class BatchFacts(NamedTuple):
    """One batch event: the input of :func:`encode_batch_event`. ``counts`` maps a status to a number of records."""

    event: Literal["accepted", "completed"]
    account_id: str
    batch_ref: str
    batch_id: str | None
    records: int
    counts: dict[Status, int]
    reason: Reason | None = None
    possible_duplicate: bool = False


def encode_batch_event(facts: BatchFacts, occurred_at_ms: int) -> bytes:
    """The value of one batch event message. Valid under :class:`BatchEvent`."""
    reason = facts.reason
    return orjson.dumps(
        {
            "event": facts.event,
            "account_id": facts.account_id,
            "batch_ref": facts.batch_ref,
            "batch_id": facts.batch_id,
            "records": facts.records,
            "counts": {name: facts.counts.get(Status(name), 0) for name in BatchCounts.model_fields},
            "reason": None if reason is None else {"code": reason.code, "message": reason.message},
            "possible_duplicate": facts.possible_duplicate,
            "occurred_at": occurred_at_ms,
        }
    )


def cloud_event_headers(
    event_type: str, event_id: str, event_source: str, traceparent: str | None = None
) -> tuple[tuple[str, bytes], ...]:
    """CloudEvents 1.0 attributes as Kafka headers (binary content mode, Kafka protocol binding §3.2)."""
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_type", event_type.encode()),
        ("ce_source", event_source.encode()),
        ("ce_id", event_id.encode()),
        ("content-type", b"application/json"),
    )
    return headers if traceparent is None else (*headers, ("traceparent", traceparent.encode()))
