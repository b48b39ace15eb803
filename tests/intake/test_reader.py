"""What becomes of good intents, what a refusal tells, and what holds for any bytes at all."""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contracts.intent import FIELDS
from streams.contracts.outcome import Reason
from streams.contracts.parcel import Row
from streams.intake.reader import Expired, Refused, ValidIntent, read_intent
from streams.intake.reasons import RULES, Code, because
from tests.intake.samples import (
    ACCOUNT,
    FULL,
    HOUR_MS,
    LABEL,
    NOW_MS,
    OTHER_ACCOUNT,
    REQUIRED,
    TRACEPARENT,
    intent,
    raw,
    read,
    rules,
)

ATTRIBUTES = FULL["attributes"]


def test_intent_is_read_whole() -> None:
    headers = [("traceparent", TRACEPARENT.encode())]
    assert read(intent(), headers) == ValidIntent(
        account_id=ACCOUNT,
        intent_id="crm-000123",
        caller="919876543210",
        receiver="919812345678",
        label_id=LABEL,
        starts_at=1_752_760_800_000,
        ends_at=1_752_764_400_000,
        priority="high",
        label_name="Acme Deliveries",
        call_reason="Your parcel arrives today",
        attributes={"campaign": "summer", "agent": "a17"},
        traceparent=TRACEPARENT,
        unknown_fields=0,
        disliked_reason=False,
    )


def test_intent_with_required_fields_alone_gets_the_defaults() -> None:
    result = read(orjson.dumps(REQUIRED))
    assert isinstance(result, ValidIntent)
    assert result[7:] == ("normal", None, None, None, None, 0, False)


def test_intent_becomes_a_row_as_its_docstring_says() -> None:
    result = read(intent(), [("traceparent", TRACEPARENT.encode())])
    assert isinstance(result, ValidIntent)
    row = Row(7, *result[1:11], 1_752_760_000_123, result.traceparent)
    shared = set(Row._fields) & set(ValidIntent._fields)
    assert shared == set(Row._fields) - {"source_offset", "recorded_at"}
    assert {name: getattr(row, name) for name in shared} == {name: getattr(result, name) for name in shared}
    assert (row.source_offset, row.recorded_at) == (7, 1_752_760_000_123)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param(None, None, id="no headers at all"),
        pytest.param([], None, id="none"),
        pytest.param([("traceparent", TRACEPARENT.encode())], TRACEPARENT, id="valid"),
        pytest.param([("traceparent", b"ff" + TRACEPARENT[2:].encode())], None, id="version ff"),
        pytest.param([("traceparent", TRACEPARENT.upper().encode())], None, id="upper case"),
        pytest.param([("traceparent", b"00-" + b"0" * 32 + TRACEPARENT[35:].encode())], None, id="zero trace"),
        pytest.param([("traceparent", TRACEPARENT[:36].encode() + b"0" * 16 + b"-01")], None, id="zero parent"),
        pytest.param([("traceparent", TRACEPARENT.encode()), ("traceparent", b"")], None, id="the last one counts"),
    ],
)
def test_traceparent_is_kept_when_it_is_valid(
    headers: list[tuple[str, bytes | None]] | None, expected: str | None
) -> None:
    result = read(intent(), headers)
    assert isinstance(result, ValidIntent)
    assert result.traceparent == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        pytest.param({str(n): "" for n in range(16)}, None, id="16 entries"),
        pytest.param({str(n): "" for n in range(17)}, Code.TOO_MANY_ATTRIBUTES, id="17 entries"),
        pytest.param({"a": "x" * 511}, None, id="512 bytes"),
        pytest.param({"a": "x" * 512}, Code.ATTRIBUTES_TOO_LARGE, id="513 bytes"),
        pytest.param({"ä": "é" * 255}, None, id="512 bytes of two-byte characters"),
        pytest.param({"ä": "é" * 256}, Code.ATTRIBUTES_TOO_LARGE, id="514 bytes of two-byte characters"),
        pytest.param({"a": "no\u00a0break \u200d"}, None, id="any text but control characters"),
        pytest.param({"a": "x\ny"}, Code.ATTRIBUTE_CHARACTERS, id="line break"),
        pytest.param({"a": "\x85"}, Code.ATTRIBUTE_CHARACTERS, id="C1 control"),
    ],
)
def test_attributes_are_bounded(attributes: dict[str, str], expected: Code | None) -> None:
    result = read(intent(attributes=attributes))
    if expected is None:
        assert isinstance(result, ValidIntent)
        assert result.attributes == attributes
    else:
        assert isinstance(result, Refused)
        assert (result.reason.code, result.attributes) == (expected, None)


@pytest.mark.parametrize(
    "spelling",
    [
        pytest.param(orjson.dumps, id="compact"),
        pytest.param(lambda fields: json.dumps(fields, indent=2).encode(), id="indented"),
        pytest.param(lambda fields: b" \r\n" + orjson.dumps(fields) + b"\n", id="space around"),
        pytest.param(lambda fields: json.dumps(fields, ensure_ascii=True).encode(), id="escaped"),
        pytest.param(lambda fields: orjson.dumps(dict(reversed(fields.items()))), id="other order"),
    ],
)
@pytest.mark.parametrize(
    ("extra", "unknown"),
    [
        pytest.param({}, 0, id="no colons"),
        pytest.param({"intent_id": "crm:1:2"}, 0, id="colons in the id"),
        pytest.param({"attributes": {"url:a": "https://a.example:80"}}, 0, id="colons in attributes"),
        pytest.param({"call_reason": 'Reminder: say "hello"'}, 0, id="colon and quotes"),
        pytest.param({"call_reason": "आपका पार्सल: आज आ रहा है"}, 0, id="colon and Hindi"),
        pytest.param({"x": 1.5, "y:z": {"a": [{"b": ":"}]}}, 2, id="unknown with colons"),
    ],
)
def test_spelling_makes_no_difference(
    spelling: Callable[[dict[str, Any]], bytes], extra: dict[str, Any], unknown: int
) -> None:
    fields = {**FULL, **extra}
    result = read(spelling(fields))
    assert isinstance(result, ValidIntent)
    assert result.unknown_fields == unknown
    assert (result.intent_id, result.attributes) == (fields["intent_id"], fields["attributes"])
    assert result.call_reason == fields["call_reason"]


@pytest.mark.parametrize("mode", ["off", "warn", "reject"])
@pytest.mark.parametrize(
    ("text", "disliked"),
    [
        pytest.param("Your parcel arrives today", False, id="plain"),
        pytest.param("Your parcel, no. 2-3, is here", False, id="stop, comma and dash inside"),
        pytest.param("Your parcel arrives today.", True, id="stop at the end"),
        pytest.param("-Your parcel arrives today", True, id="dash at the start"),
        pytest.param("Your parcel arrives today,", True, id="comma at the end"),
        *(pytest.param(f"Your {c} parcel arrives", True, id=c) for c in "!@#$%^&*()_+/"),
        pytest.param("आपका पार्सल आज आ रहा है", False, id="Hindi"),
    ],
)
def test_characters_that_the_api_dislikes(text: str, disliked: bool, mode: str) -> None:
    result = read(intent(call_reason=text), reason_characters=mode)
    if disliked and mode == "reject":
        assert isinstance(result, Refused)
        assert result.reason == because(Code.REASON_CHARACTERS)
    else:
        assert isinstance(result, ValidIntent)
        assert result.disliked_reason is (disliked and mode == "warn")


def test_expired_intent_names_itself() -> None:
    late = intent(starts_at=NOW_MS - HOUR_MS, ends_at=NOW_MS - 1)
    assert read(late) == Expired(because(Code.EXPIRED), "crm-000123", ACCOUNT, ATTRIBUTES)


def test_expired_intent_of_the_default_account_names_that() -> None:
    late = intent(account_id=..., starts_at=NOW_MS - HOUR_MS, ends_at=NOW_MS - 1)
    result = read(late, default_account=ACCOUNT)
    assert isinstance(result, Expired)
    assert result.account_id == ACCOUNT


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"account_id": OTHER_ACCOUNT}, id="unknown account"),
        pytest.param({"receiver": FULL["caller"]}, id="calls itself"),
        pytest.param({"label_name": "x\u202ey"}, id="bad text"),
        pytest.param({"starts_at": NOW_MS - 48 * HOUR_MS}, id="window too long"),
    ],
)
def test_intent_that_is_late_and_wrong_is_refused(fault: dict[str, Any]) -> None:
    result = read(intent(**{"starts_at": NOW_MS - HOUR_MS, "ends_at": NOW_MS - 1, **fault}))
    assert isinstance(result, Refused)
    assert result.reason.code != Code.EXPIRED


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(intent(caller="x"), ("crm-000123", ACCOUNT, ATTRIBUTES), id="bad shape"),
        pytest.param(intent(receiver=FULL["caller"]), ("crm-000123", ACCOUNT, ATTRIBUTES), id="bad rule"),
        pytest.param(intent(account_id=OTHER_ACCOUNT), ("crm-000123", OTHER_ACCOUNT, ATTRIBUTES), id="unknown account"),
        pytest.param(intent(intent_id="a b"), (None, ACCOUNT, ATTRIBUTES), id="unsafe id"),
        pytest.param(intent(intent_id="a\n"), (None, ACCOUNT, ATTRIBUTES), id="id with a line feed"),
        pytest.param(intent(account_id=".."), ("crm-000123", None, ATTRIBUTES), id="unsafe account"),
        pytest.param(intent(attributes={"a": 1}), ("crm-000123", ACCOUNT, None), id="attributes of another type"),
        pytest.param(intent(attributes=["a"]), ("crm-000123", ACCOUNT, None), id="attributes of another shape"),
        pytest.param(intent(attributes={"a": "x" * 600}), ("crm-000123", ACCOUNT, None), id="attributes too large"),
        pytest.param(intent(intent_id=7, account_id={}), (None, None, ATTRIBUTES), id="ids of another type"),
        pytest.param(intent(intent_id=...), (None, ACCOUNT, ATTRIBUTES), id="id missing"),
        pytest.param(raw("label_name", '"\\ud800"'), ("crm-000123", ACCOUNT, ATTRIBUTES), id="surrogate elsewhere"),
        pytest.param(raw("attributes", '{"a":"\\ud800"}'), ("crm-000123", ACCOUNT, None), id="surrogate in attributes"),
        pytest.param(intent()[:-1] + b',"caller":"1"}', ("crm-000123", ACCOUNT, None), id="another key twice"),
        pytest.param(intent()[:-1] + b',"intent_id":"b"}', (None, ACCOUNT, None), id="the id twice"),
        pytest.param(intent()[:-1], (None, None, None), id="not JSON"),
    ],
)
def test_refusal_names_the_intent_where_that_is_safe(
    value: bytes, expected: tuple[str | None, str | None, dict[str, str] | None]
) -> None:
    result = read(value)
    assert isinstance(result, Refused)
    assert (result.intent_id, result.account_id, result.attributes) == expected
    orjson.dumps(result.attributes)  # and can be copied


def test_refusal_of_the_default_account_names_it() -> None:
    result = read(intent(account_id=..., receiver=FULL["caller"]), default_account=ACCOUNT)
    assert isinstance(result, Refused)
    assert result.account_id == ACCOUNT


def test_strict_refusal_names_the_intent() -> None:
    result = read(intent(extra=1), strict_unknown_fields=True)
    assert result == Refused(because(Code.UNKNOWN_FIELD), "crm-000123", ACCOUNT, ATTRIBUTES)


def test_first_field_in_order_decides_the_reason() -> None:
    result = read(intent(caller="x", receiver=7, label_id=..., starts_at=None))
    assert isinstance(result, Refused)
    assert result.reason == because(Code.MALFORMED_PHONE, "caller")


def test_message_names_the_field_and_the_remedy() -> None:
    result = read(intent(starts_at=1_752_760_800))
    assert isinstance(result, Refused)
    assert result.reason.message == "starts_at is in seconds: send epoch milliseconds (UTC)"


def test_repr_of_an_intent_hides_the_numbers() -> None:
    assert repr(read(intent())) == f"ValidIntent(intent_id='crm-000123', account_id='{ACCOUNT}')"


def test_every_code_has_one_rule() -> None:
    assert set(RULES) == set(Code)
    assert len({rule.wrong for rule in RULES.values()}) == len(RULES)


# --- Whatever comes ---------------------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from([value for value in FULL.values() if not isinstance(value, dict)])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
NAMES = st.sampled_from(sorted(FIELDS)) | st.text(max_size=8)
CHANGES = st.dictionaries(NAMES, VALUES, max_size=4)


@settings(deadline=None)
@given(
    value=st.none()
    | st.binary()
    | st.binary().map(lambda tail: b"{" + tail)
    | VALUES.map(lambda v: json.dumps(v).encode()),
    headers=st.none() | st.lists(st.tuples(st.text() | st.just("traceparent"), st.none() | st.binary())),
)
@pytest.mark.faults("F28")
def test_any_bytes_give_a_value(value: bytes | None, headers: list[tuple[str, bytes | None]] | None) -> None:
    result = read_intent(value, headers, rules(), NOW_MS)
    assert isinstance(result, Refused)  # nobody guesses an account
    assert result.reason.code in RULES


@settings(deadline=None)
@given(at=st.integers(0, len(intent()) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_any_damage_gives_a_value(at: int, byte: int, cut: bool) -> None:
    damaged = intent()[:at] + (b"" if cut else bytes([byte])) + intent()[at + 1 :]
    assert isinstance(read(damaged), ValidIntent | Refused | Expired)


@settings(deadline=None)
@given(changes=CHANGES)
def test_any_change_gives_a_reason_without_digits_of_the_input(changes: dict[str, Any]) -> None:
    result = read_intent(json.dumps({**FULL, **changes}).encode(), None, rules(reason_characters="reject"), NOW_MS)
    if not isinstance(result, ValidIntent):
        assert isinstance(result.reason, Reason)
        assert not re.search(r"[0-9]{7}", result.reason.message)
        result.reason.message.encode("ascii")


@settings(deadline=None)
@given(
    pairs=st.lists(st.tuples(NAMES | st.just(":"), VALUES), max_size=3),
    at=st.integers(0, len(FULL)),
    escaped=st.booleans(),
)
def test_good_path_sees_what_a_strict_reader_sees(pairs: list[tuple[str, Any]], at: int, escaped: bool) -> None:
    """Intents with more pairs put in anywhere are accepted only with each key once, unknown ones counted."""
    all_pairs = [*list(FULL.items())[:at], *pairs, *list(FULL.items())[at:]]
    text = ",".join(f"{json.dumps(k, ensure_ascii=escaped)}:{json.dumps(v)}" for k, v in all_pairs)
    result = read_intent(f"{{{text}}}".encode("utf-8", "surrogatepass"), None, rules(), NOW_MS)
    repeated = max(Counter(name for name, _ in all_pairs).values()) > 1
    if isinstance(result, ValidIntent):
        assert not repeated
        assert result.unknown_fields == len({name for name, _ in all_pairs} - FIELDS)
    elif repeated and isinstance(result, Refused):
        assert result.reason.code in {Code.DUPLICATE_KEY, Code.LONE_SURROGATE, Code.NOT_UTF8}


@pytest.mark.parametrize("depth", range(0, 400, 40))
@pytest.mark.faults("F28")
def test_depth_of_the_callers_stack_makes_no_exception(depth: int) -> None:
    """A worker calls from somewhere deep; the parsers may then run out of stack earlier, but not out of answers."""

    def from_below(frames: int) -> object:
        return from_below(frames - 1) if frames else read(raw("extra", "[" * 900 + '"a:\\n"' + "]" * 900))

    result = from_below(depth)
    assert isinstance(result, Refused)
    assert result.reason.code == Code.TOO_DEEP
