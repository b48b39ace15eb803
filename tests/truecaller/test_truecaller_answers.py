"""Every documented shape of an answer is read; nothing that is not one is believed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.lane.verdict import RecordState, RecordStatus
from streams.truecaller.answers import UNREADABLE, read_batch_id, read_error, read_json, read_statuses, read_token

RECORD: dict[str, Any] = {
    "id": "c458227a-a730-4ced-81b4-19c21ea8d97c",
    "label_id": "c6d86658-008d-4c08-98fb-2bf2649d59a5",
    "starts_at": 1753246858000,
    "ends_at": 1753362058000,
    "created_at": "2025-07-23T09:07:32.21Z",
}
TEXTS = ("Centro Bank KYC Department", "Calling you for KYC Verification")
V1 = {
    **RECORD,
    "client_account_id": "91c173bb-28d8-4030-9722-8663ff9589f3",
    "batch_id": "b-1",
    "caller": "918012345678",
    "receiver": "919876543210",
    "label_name": TEXTS[0],
    "call_reason": TEXTS[1],
    "status": "success",
}
V2 = {
    **RECORD,
    "caller_number": "************",
    "receiver_number": "************",
    "dynamic_label_name": TEXTS[0],
    "dynamic_call_reason": TEXTS[1],
    "status_info": {"status": "success"},
}
V3 = {**V2, "caller_number": "+918012345678", "receiver_number": "+919876543210"}


def expected(caller: str | None, receiver: str | None) -> RecordStatus:
    return RecordStatus(
        record_id=RECORD["id"],
        caller=caller,
        receiver=receiver,
        label_id=RECORD["label_id"],
        label_name=TEXTS[0],
        call_reason=TEXTS[1],
        starts_at=1753246858000,
        ends_at=1753362058000,
        state=RecordState.DELIVERED,
        raw="success",
        message=None,
    )


@pytest.mark.parametrize(
    ("answer", "record"),
    [
        pytest.param([V1], expected("918012345678", "919876543210"), id="v1"),
        pytest.param({"batch_id": "b-1", "data": [V2]}, expected(None, None), id="B75-v2-masked"),
        pytest.param({"batch_id": "b-1", "data": [V3]}, expected("918012345678", "919876543210"), id="v3"),
        pytest.param({"data": {"records": [V2]}}, expected(None, None), id="data-records"),
        pytest.param({"data": {"call_records": [V2]}}, expected(None, None), id="data-call-records"),
        pytest.param({"call_records": [V2]}, expected(None, None), id="call-records"),
    ],
)
def test_read_statuses_knows_every_shape(answer, record):
    assert read_statuses(answer, "b-1") == (record,)


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        pytest.param([], 0, id="B75-empty-list"),
        pytest.param({"data": []}, 0, id="empty-data"),
        pytest.param({"data": None}, 0, id="null-data"),
        pytest.param({}, None, id="no-list"),
        pytest.param({"data": "x"}, None, id="text"),
        pytest.param("x", None, id="bare-text"),
        pytest.param({"batch_id": "b-2", "data": [V2]}, None, id="other-batch"),
        pytest.param([{**V1, "batch_id": "b-2"}], None, id="F80-records-of-another-batch"),
        pytest.param([V1, {**V1, "batch_id": "b-2"}], 1, id="F80-one-stray-record"),
        pytest.param([V1, 7, None, "x", []], 1, id="stray-items"),
        pytest.param([V1] * 501, 501, id="B75-one-too-many"),
    ],
)
def test_read_statuses_takes_only_records_of_the_batch(answer, count):
    records = read_statuses(answer, "b-1")
    assert (None if records is None else len(records)) == count


WORDS = {
    "success": RecordState.DELIVERED,
    " SUCCESS ": RecordState.DELIVERED,
    **dict.fromkeys(("error", "failed", "failure", "rejected", "invalid", "Expired"), RecordState.FAILED),
    **dict.fromkeys(("pending", "processing", "queued", "accepted", "created", "scheduled"), RecordState.PENDING),
    **dict.fromkeys(("", "delivered-ish", "úspěch"), RecordState.PENDING),
}


@pytest.mark.parametrize(("word", "state"), WORDS.items())
@pytest.mark.faults("F80", "B75")
def test_a_state_is_final_only_for_a_known_word(word, state):
    for item in ({"status": word}, {"status_info": word}, {"status_info": {"status": word}}):
        (record,) = read_statuses([item], "b-1") or ()
        assert record.state is state
        assert record.raw.strip() == word.strip()


@pytest.mark.parametrize(
    ("item", "message"),
    [
        pytest.param(
            {"status_info": {"status": "error", "message": "OS not supported"}}, "OS not supported", id="message"
        ),
        pytest.param({"status_info": {"status": "error", "reason": "Failed to push"}}, "Failed to push", id="reason"),
        pytest.param({"status_info": {"status": "error", "field": "receiver"}}, "receiver", id="field"),
        pytest.param({"status": "error", "message": "bad +91 98765 43210"}, "bad …", id="B77-scrubbed"),
        pytest.param({"status_info": {"status": "error", "message": {"a": 1}}}, None, id="not-a-text"),
    ],
)
def test_a_record_tells_its_reason_without_numbers(item, message):
    (record,) = read_statuses([item], "b-1") or ()
    assert record.message == message


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["data", "status_info", "status", "id", "batch_id", "caller", "starts_at", "message", "slug"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_reading_never_raises_whatever_the_json(value):
    read_error(value)
    read_batch_id(value)
    read_token(value)
    records = read_statuses(value, "b-1")
    assert records is None or all(isinstance(record, RecordStatus) for record in records)


@pytest.mark.parametrize(
    ("answer", "batch_id"),
    [
        pytest.param(
            {"batch_id": "b72f7a40-ec3a-462f-b528-da0e8dc87e79"}, "b72f7a40-ec3a-462f-b528-da0e8dc87e79", id="v2"
        ),
        pytest.param({"batch_id": "d76s5-dfg9d-o32442-837467854"}, "d76s5-dfg9d-o32442-837467854", id="opaque"),
        pytest.param({"batchId": "a"}, "a", id="camel"),
        pytest.param({"data": {"batch_id": "a"}}, "a", id="nested"),
        pytest.param({"batch_id": 12}, "12", id="number"),
        pytest.param(
            {"message": "Records Uploaded Successfully. BatchID: 6dabe53b-14a5"}, "6dabe53b-14a5", id="B72-prose"
        ),
        pytest.param({"message": "Done. batchid:\tx_y. Thanks"}, "x_y", id="B72-prose-before-a-dot"),
        pytest.param({"batch_id": "a/b", "message": "BatchID: c"}, "c", id="B72-unusable-then-prose"),
        pytest.param({"batch_id": "a\r\nX: y"}, None, id="B73-crlf"),
        pytest.param({"batch_id": ""}, None, id="empty"),
        pytest.param({"batch_id": True}, None, id="bool"),
        pytest.param({"message": "BatchID: " + "a" * 129}, None, id="B73-prose-too-long"),
        pytest.param({"message": "no id here"}, None, id="none"),
        pytest.param(["b"], None, id="list"),
    ],
)
def test_read_batch_id_takes_only_what_is_safe_in_a_url(answer, batch_id):
    assert read_batch_id(answer) == batch_id


@pytest.mark.parametrize(
    ("body", "value"),
    [
        pytest.param(b'\xef\xbb\xbf{"a":1}', {"a": 1}, id="B74-bom"),
        pytest.param('{"a":"caf\u00e9"}'.encode("latin-1"), {"a": "caf\ufffd"}, id="B74-latin-1"),
        pytest.param(b'{"a":1,"a":2}', {"a": 2}, id="B74-duplicate-key"),
        pytest.param(b"[" * 100_000, UNREADABLE, id="deep"),
        pytest.param(b"1" * 5000, UNREADABLE, id="absurd-number"),
        pytest.param(b"{", UNREADABLE, id="cut"),
        pytest.param(b"", UNREADABLE, id="empty"),
    ],
)
def test_read_json_forgives_spelling_only(body, value):
    assert read_json(body) == value


@pytest.mark.faults("B74")
def test_read_json_forgives_nan():
    assert str(read_json(b'{"a":NaN}')) == "{'a': nan}"


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        pytest.param({"status": "success", "message": "m"}, False, id="v1-success"),
        pytest.param({"batch_id": "b"}, False, id="v2-success"),
        pytest.param({}, False, id="empty"),
        pytest.param({"status": "error"}, True, id="status"),
        pytest.param({"status": " ERROR "}, True, id="loud-status"),
        pytest.param({"slug": "x"}, True, id="slug"),
        pytest.param({"slug": {"a": 1}}, True, id="strange-slug"),
        pytest.param({"errors": ["x"]}, True, id="errors"),
        pytest.param({"error": None}, False, id="null-error"),
    ],
)
def test_read_error_finds_what_names_one(answer, named):
    assert (read_error(answer) is not None) == named
