"""What lanes want written, as messages: topics, keys, partitions, headers, and valid under their models."""

import orjson
import pytest

from streams.contracts.journal import Held, Place
from streams.contracts.outcome import BatchEvent, BatchFacts, IntentOutcome, Reason, Status
from streams.contracts.request import RequestRecord
from streams.lane.actions import Outcomes, Write
from streams.worker.encode import Encoder
from tests.worker.parts import ACCOUNT, EVENT_SOURCE, TOPICS, row
from tests.worker.virtual import START_MS

NOW_MS = START_MS + 7
HELD = [Held(Place(5, index), "intents", 3, row(index)) for index in range(3)]


def encoded(write, level="both"):
    return Encoder(TOPICS, EVENT_SOURCE, level).write(write, ACCOUNT, 9, NOW_MS)


def accepted(**changes):
    fields = {"status": Status.ACCEPTED, "held": HELD, "sequence": 0, "batch_ref": "ref", "batch_id": "id"}
    return Outcomes(**{**fields, "counted": True, **changes})


EVENT = BatchFacts("accepted", ACCOUNT, "ref", "id", 3, {Status.ACCEPTED: 3})
COMPLETED = BatchFacts("completed", ACCOUNT, "ref", "id", 3, {Status.DELIVERED: 2, Status.UNKNOWN: 1})


def test_journal_entries_go_to_the_partition_of_the_accounts_parcels():
    messages = encoded(Write(entries=[("batch/ref", b"content"), ("intents/ref", None)]))
    assert [(m.topic, m.key, m.value, m.partition) for m in messages] == [
        ("journal", b"batch/ref", b"content", 9),
        ("journal", b"intents/ref", None, 9),
    ]


def test_an_outcome_is_keyed_by_its_intent_and_named_by_its_source_and_sequence():
    messages = encoded(Write(outcomes=[accepted(sequence=1)]))
    assert [m.topic for m in messages] == ["outcomes"] * 3
    assert [m.key for m in messages] == [b"intent-0", b"intent-1", b"intent-2"]
    assert [dict(m.headers)["ce_id"] for m in messages] == [b"intents/3/0/1", b"intents/3/1/1", b"intents/3/2/1"]
    headers = dict(messages[0].headers)
    assert headers["ce_type"] == b"io.callstream.intent.outcome.v1"
    assert headers["ce_source"] == EVENT_SOURCE.encode()
    assert headers["ce_specversion"] == b"1.0"
    assert "traceparent" not in headers


def test_a_trace_comes_back_with_the_outcome():
    traced = Held(Place(5, 0), "intents", 3, row(0, traceparent="00-trace"))
    (message,) = encoded(Write(outcomes=[accepted(held=[traced])]))
    assert dict(message.headers)["traceparent"] == b"00-trace"


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        pytest.param(accepted(), {"status": "accepted", "final": False, "batch_id": "id"}, id="accepted"),
        pytest.param(accepted(batch_id=None), {"status": "accepted", "batch_id": None}, id="untracked"),
        pytest.param(
            accepted(status=Status.DELIVERED, sequence=1, record_ids=["r0", "r1", None]),
            {"status": "delivered", "final": True, "record_id": "r0", "sequence": 1},
            id="delivered",
        ),
        pytest.param(
            accepted(status=Status.FAILED, sequence=1, reason=Reason("api_status", "Not a user")),
            {"status": "failed", "reason": {"code": "api_status", "message": "Not a user"}},
            id="failed",
        ),
        pytest.param(
            accepted(status=Status.UNKNOWN, possible_duplicate=True),
            {"status": "unknown", "final": True, "possible_duplicate": True},
            id="unknown",
        ),
        pytest.param(
            accepted(status=Status.EXPIRED, batch_ref=None, batch_id=None),
            {"status": "expired", "final": True, "batch_ref": None},
            id="expired",
        ),
        pytest.param(accepted(status=Status.REJECTED), {"status": "rejected", "final": True}, id="rejected"),
    ],
)
def test_every_outcome_is_valid_under_its_model(outcomes, expected):
    for number, message in enumerate(encoded(Write(outcomes=[outcomes]))):
        told = IntentOutcome.model_validate_json(message.value).model_dump()
        assert told["intent_id"] == f"intent-{number}"
        assert told["account_id"] == ACCOUNT
        assert told["source"] == {"topic": "intents", "partition": 3, "offset": number}
        assert told["occurred_at"] == NOW_MS
        if number == 0:
            assert {name: told[name] for name in expected} == expected


def test_attributes_of_the_intent_come_back():
    held = Held(Place(5, 0), "intents", 3, row(0, attributes={"campaign": "summer"}))
    (message,) = encoded(Write(outcomes=[accepted(held=[held])]))
    assert IntentOutcome.model_validate_json(message.value).attributes == {"campaign": "summer"}


@pytest.mark.parametrize(
    ("facts", "kind", "counts"),
    [
        pytest.param(EVENT, b"io.callstream.batch.accepted.v1", (3, 0, 0, 0), id="accepted"),
        pytest.param(COMPLETED, b"io.callstream.batch.completed.v1", (0, 2, 0, 1), id="completed"),
    ],
)
def test_every_batch_event_is_valid_under_its_model(facts, kind, counts):
    (message,) = encoded(Write(events=[facts]))
    told = BatchEvent.model_validate_json(message.value)
    assert (told.counts.accepted, told.counts.delivered, told.counts.failed, told.counts.unknown) == counts
    assert message.topic == "outcomes"
    assert message.key == b"ref"
    assert dict(message.headers)["ce_type"] == kind
    assert dict(message.headers)["ce_id"] == f"ref/{facts.event}".encode()


UNCOUNTED = accepted(status=Status.EXPIRED, counted=False)


@pytest.mark.parametrize(
    ("level", "outcomes", "events"),
    [
        pytest.param("both", 6, 1, id="both"),
        pytest.param("intent", 6, 0, id="intent"),
        pytest.param("batch", 3, 1, id="batch"),
    ],
)
def test_the_level_leaves_out_what_batch_events_count(level, outcomes, events):
    messages = encoded(Write(outcomes=[accepted(), UNCOUNTED], events=[EVENT]), level)
    kinds = [dict(message.headers)["ce_type"] for message in messages]
    assert kinds.count(b"io.callstream.intent.outcome.v1") == outcomes
    assert kinds.count(b"io.callstream.batch.accepted.v1") == events
    if level == "batch":
        assert {orjson.loads(m.value).get("status") for m in messages} == {"expired", None}


def test_a_rejected_intent_becomes_a_dead_letter_that_can_be_published_again():
    held = Held(Place(5, 0), "intents", 3, row(0, label_name="Acme", attributes={"a": "b"}))
    (letter,) = encoded(Write(dead=[(held, Reason("api_rejected", "invalid-input: label_id"))]))
    assert (letter.topic, letter.key, letter.partition) == ("dead_letters", b"intent-0", -1)
    again = orjson.loads(letter.value)
    assert again["account_id"] == ACCOUNT
    assert again["label_name"] == "Acme"
    assert "call_reason" not in again
    assert (again["receiver"], again["starts_at"]) == (held.row.receiver, held.row.starts_at)
    headers = dict(letter.headers)
    assert headers["__connect.errors.topic"] == b"intents"
    assert (headers["__connect.errors.partition"], headers["__connect.errors.offset"]) == (b"3", b"0")
    assert headers["__connect.errors.stage"] == b"submit"
    assert headers["callstream.reason"] == b"api_rejected"


def test_a_request_is_recorded_under_its_account_without_its_token():
    record = RequestRecord(ACCOUNT, "post", 0, START_MS, NOW_MS, "accepted", "ref", 3)
    (message,) = encoded(Write(requests=[record]))
    assert (message.topic, message.key) == ("requests", ACCOUNT.encode())
    assert orjson.loads(message.value) == {
        "kind": "request",
        "version": 1,
        "account_id": ACCOUNT,
        "request": "post",
        "token": 0,
        "sent_at": START_MS,
        "ended_at": NOW_MS,
        "verdict": "accepted",
        "batch_ref": "ref",
        "records": 3,
    }


def test_no_outcome_event_or_record_holds_a_number():
    write = Write(
        outcomes=[accepted()],
        events=[EVENT],
        requests=[RequestRecord(ACCOUNT, "post", 0, START_MS, NOW_MS, "accepted")],
    )
    for message in encoded(write):
        whole = message.value + (message.key or b"") + b"".join(content for _, content in message.headers)
        assert b"9180111" not in whole
        assert b"917000" not in whole
