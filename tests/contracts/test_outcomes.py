"""Outcomes and batch events are built by hand, and valid under their models whatever goes in."""

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import given, settings

from streams.contracts.outcome import (
    INTENT_OUTCOME_TYPE,
    BatchEvent,
    BatchFacts,
    IntentOutcome,
    OutcomeFacts,
    Reason,
    Source,
    Status,
    cloud_event_headers,
    encode_batch_event,
    encode_intent_outcome,
)

TEXT = st.text(max_size=30)
REASONS = st.none() | st.builds(Reason, TEXT, TEXT)
NUMBERS = st.integers(0, 2**53)
OUTCOMES = st.builds(
    OutcomeFacts,
    st.none() | TEXT,
    st.none() | TEXT,
    st.sampled_from(Status),
    st.builds(Source, TEXT, NUMBERS, NUMBERS),
    NUMBERS,
    st.none() | TEXT,
    st.none() | TEXT,
    st.none() | TEXT,
    REASONS,
    st.booleans(),
    st.none() | st.dictionaries(TEXT, TEXT, max_size=4),
)
COUNTED = st.sampled_from([Status.ACCEPTED, Status.DELIVERED, Status.FAILED, Status.UNKNOWN])
EVENTS = st.builds(
    BatchFacts,
    st.sampled_from(["accepted", "completed"]),
    TEXT,
    TEXT,
    st.none() | TEXT,
    st.integers(1, 500),
    st.dictionaries(COUNTED, st.integers(0, 500)),
    REASONS,
    st.booleans(),
)


@settings(deadline=None)
@given(facts=OUTCOMES, at_ms=NUMBERS)
def test_an_outcome_is_valid(facts, at_ms):
    read = IntentOutcome.model_validate_json(encode_intent_outcome(facts, at_ms))
    assert (read.status, read.final) == (facts.status.value, facts.status.final)
    assert (read.intent_id, read.account_id, read.sequence) == (facts.intent_id, facts.account_id, facts.sequence)
    assert (read.batch_ref, read.batch_id, read.record_id) == (facts.batch_ref, facts.batch_id, facts.record_id)
    assert (read.source.topic, read.source.partition, read.source.offset) == facts.source
    assert (read.reason and Reason(read.reason.code, read.reason.message)) == facts.reason
    assert (read.possible_duplicate, read.occurred_at) == (facts.possible_duplicate, at_ms)
    assert read.attributes == (facts.attributes or {})


@settings(deadline=None)
@given(facts=EVENTS, at_ms=NUMBERS)
def test_a_batch_event_is_valid(facts, at_ms):
    read = BatchEvent.model_validate_json(encode_batch_event(facts, at_ms))
    assert (read.event, read.records, read.batch_ref, read.batch_id) == (
        facts.event,
        facts.records,
        facts.batch_ref,
        facts.batch_id,
    )
    assert read.counts.model_dump() == {
        status.value: facts.counts.get(status, 0)
        for status in (Status.ACCEPTED, Status.DELIVERED, Status.FAILED, Status.UNKNOWN)
    }


@pytest.mark.parametrize("status", Status)
def test_all_but_accepted_and_unresolved_are_final(status):
    assert status.final == (status not in {Status.ACCEPTED, Status.UNRESOLVED})


def test_fields_have_one_order():
    facts = OutcomeFacts("i", "a", Status.ACCEPTED, Source("t", 0, 1))
    assert list(orjson.loads(encode_intent_outcome(facts, 5))) == list(IntentOutcome.model_fields)
    event = BatchFacts("accepted", "a", "ref", None, 1, {})
    assert list(orjson.loads(encode_batch_event(event, 5))) == list(BatchEvent.model_fields)


def test_cloud_event_headers_are_complete():
    headers = dict(cloud_event_headers(INTENT_OUTCOME_TYPE, "t/0/1/0", "/callstream/g"))
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_type": b"io.callstream.intent.outcome.v1",
        "ce_source": b"/callstream/g",
        "ce_id": b"t/0/1/0",
        "content-type": b"application/json",
    }
    traced = cloud_event_headers(INTENT_OUTCOME_TYPE, "t/0/1/0", "/callstream/g", "00-ab-cd-01")
    assert traced[-1] == ("traceparent", b"00-ab-cd-01")
