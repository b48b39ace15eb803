"""Every kind of bad input that we know of, with what becomes of it: a stable reason, or a stated acceptance."""

import gzip
import inspect
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
import pytest
import zstandard

from streams.intake.framing import Headers
from streams.intake.reader import Expired, Refused, ValidIntent, read_intent
from streams.intake.reasons import VALUE_BYTES_MAX, Code
from tests.intake.samples import (
    ACCOUNT,
    FULL,
    HORIZON_MS,
    HOUR_MS,
    LABEL,
    MARGIN_MS,
    NOW_MS,
    OTHER_ACCOUNT,
    REQUIRED,
    TRACEPARENT,
    intent,
    raw,
    read,
)

CALLER, RECEIVER = FULL["caller"], FULL["receiver"]
DAY_MS = 24 * HOUR_MS
GOOD = intent()
NO_ATTRIBUTES: list[Any] = [{}, None, ...]
RIGHT_TYPE = {"starts_at": "7", "ends_at": "7", "attributes": "{}"}
ROWS = range(1, 72)


class Case(NamedTuple):
    """``expected`` is the reason of a refusal, or the fields that an accepted intent has."""

    id: str
    value: bytes | None
    expected: Code | dict[str, Any]
    headers: Headers | None = None
    rules: dict[str, Any] = {}  # noqa: RUF012 - never changed


def window(starts_at: int, ends_at: int) -> bytes:
    return intent(starts_at=starts_at, ends_at=ends_at)


def padded(size: int) -> bytes:
    return GOOD + b" " * (size - len(GOOD))


def nested(depth: int) -> bytes:
    return raw("extra", "[" * depth + "]" * depth)


def many_keys(count: int) -> bytes:
    return intent(**{f"x{number}": 1 for number in range(count)})


def each(row: str, what: str, field: str, values: list[Any], expected: Code, **rules: Any) -> list[Case]:
    return [Case(f"{row}-{what}-{n}", intent(**{field: v}), expected, rules=rules) for n, v in enumerate(values)]


FRAMING = [
    Case("B1-tombstone", None, Code.TOMBSTONE),
    Case("B2-empty", b"", Code.EMPTY),
    Case("B4-confluent-prefix", b"\0\0\0\0\7" + GOOD, {"intent_id": FULL["intent_id"]}),
    Case("B4-confluent-header", GOOD, {"intent_id": FULL["intent_id"]}, [("__value_schema_id", b"\1" + b"\7" * 16)]),
    Case("B4-confluent-prefix-of-an-array", b"\0\0\0\0\7[]", Code.NOT_AN_OBJECT),
    Case("B5-magic-alone", b"\0", Code.UNKNOWN_FRAMING),
    Case("B5-magic-and-id-alone", b"\0\0\0\0\7", Code.UNKNOWN_FRAMING),
    Case("B5-magic-cut", b"\0{}", Code.UNKNOWN_FRAMING),
    Case("B5-magic-one", b"\1" + GOOD, Code.UNKNOWN_FRAMING),
    Case("B5-avro-behind-prefix", b"\0\0\0\0\7\x14crm-000123", Code.UNKNOWN_FRAMING),
    Case("B5-protobuf-behind-prefix", b"\0\0\0\0\7\0\n\ncrm-000123", Code.UNKNOWN_FRAMING),
    Case("B5-protobuf-bare", b"\n\x0acrm-000123", Code.NOT_JSON),
    Case("B6-gzip", gzip.compress(GOOD), Code.NOT_JSON),
    Case("B6-zstd", zstandard.compress(GOOD), Code.NOT_JSON),
    Case("B7-as-large-as-allowed", padded(VALUE_BYTES_MAX), {"intent_id": FULL["intent_id"]}),
    Case("B7-one-byte-larger", padded(VALUE_BYTES_MAX + 1), Code.TOO_LARGE),
    Case("B8-thousand-headers", GOOD, {"traceparent": None}, [(f"h{n}", b"x") for n in range(1000)]),
    Case(
        "B8-last-of-a-name-counts",
        GOOD,
        {"traceparent": TRACEPARENT},
        [("traceparent", b"00-bad"), ("traceparent", TRACEPARENT.encode())],
    ),
    Case("B8-null-header", GOOD, {"traceparent": None}, [("traceparent", None), ("ce_type", None)]),
    Case("B8-odd-names", GOOD, {"traceparent": None}, [("", b""), ("\udcff", b"\xff"), ("a\r\nb", b"c\r\nd")]),
    Case("B8-line-break-in-traceparent", GOOD, {"traceparent": None}, [("traceparent", TRACEPARENT.encode() + b"\n")]),
    Case("B8-not-utf8-traceparent", GOOD, {"traceparent": None}, [("traceparent", b"\xff" * 55)]),
    Case("B13-newer-version", GOOD, Code.UNKNOWN_TYPE, [("ce_type", b"io.callstream.call.intent.v2")]),
    Case("B13-outcome", GOOD, Code.UNKNOWN_TYPE, [("ce_type", b"io.callstream.intent.outcome.v1")]),
    Case("B13-ours", GOOD, {"intent_id": FULL["intent_id"]}, [("ce_type", b"io.callstream.call.intent.v1")]),
    Case("B13-a-dialers-own-type", GOOD, {"intent_id": FULL["intent_id"]}, [("ce_type", b"com.acme.dial")]),
    Case(
        "B13-structured-envelope",
        orjson.dumps({"specversion": "1.0", "type": "com.acme.dial", "source": "/a", "id": "1", "data": FULL}),
        Code.UNKNOWN_TYPE,
    ),
    Case("B14-expanded", b"\0" * 50_000_000, Code.TOO_LARGE),
]

JSON = [
    Case("B15-truncated", GOOD[:-1], Code.NOT_JSON),
    Case("B15-trailing-comma", GOOD[:-1] + b",}", Code.NOT_JSON),
    Case("B15-comment", GOOD[:-1] + b"/* x */}", Code.NOT_JSON),
    Case("B15-single-quotes", GOOD.replace(b'"', b"'"), Code.NOT_JSON),
    Case("B15-trailing-garbage", GOOD + b"x", Code.NOT_JSON),
    Case("B15-trailing-nul", GOOD + b"\0", Code.NOT_JSON),
    Case("B15-two-documents", GOOD + b"\n" + GOOD, Code.NOT_JSON),
    Case("B16-whitespace", b" \t\r\n", Code.EMPTY),
    *(
        Case(f"B16-no-object-{n}", text, Code.NOT_AN_OBJECT)
        for n, text in enumerate([b"null", b"[]", b'"x"', b"123", b"true", b"[" + GOOD + b"]"])
    ),
    Case("B17-duplicate-keys", GOOD[:-1] + b',"receiver":"919811111111"}', Code.DUPLICATE_KEY),
    Case("B17-duplicate-keys-alike", GOOD[:-1] + b',"receiver":"%s"}' % RECEIVER.encode(), Code.DUPLICATE_KEY),
    Case("B17-duplicate-unknown-keys", GOOD[:-1] + b',"x":1,"x":2}', Code.DUPLICATE_KEY),
    Case("B17-duplicate-keys-below", raw("attributes", '{"a":"1","a":"2"}'), Code.DUPLICATE_KEY),
    Case("B17-duplicate-keys-far-below", raw("extra", '[{"a":1,"a":2}]'), Code.DUPLICATE_KEY),
    Case("B17-duplicate-keys-and-a-wrong-type", GOOD[:-1] + b',"receiver":7}', Code.DUPLICATE_KEY),
    # A colon that was escaped must not make up for the one of a second key.
    Case(
        "B17-duplicate-key-behind-an-escaped-colon",
        raw("intent_id", '"crm\\u003a1"')[:-1] + b',"receiver":"919811111111"}',
        Code.DUPLICATE_KEY,
    ),
    Case("B18-duplicate-key-escaped", GOOD[:-1] + b',"\\u0072eceiver":"919811111111"}', Code.DUPLICATE_KEY),
    *(
        Case(f"B19-constant-{text}-{where}", raw(field, text), Code.NOT_JSON)
        for text in ("NaN", "Infinity", "-Infinity")
        for where, field in (("as-a-time", "starts_at"), ("unknown", "extra"))
    ),
    Case("B19-infinite-time", raw("starts_at", "1e400"), Code.WRONG_TYPE),
    Case("B19-infinite-elsewhere", raw("extra", "1e400"), {"unknown_fields": 1}),
    Case("B20-as-deep-as-allowed", nested(190), {"unknown_fields": 1}),
    Case("B20-deeper", nested(250), Code.TOO_DEEP),
    Case("B20-thousand-deep", nested(1_000), Code.TOO_DEEP),
    Case("B20-thirty-thousand-deep", nested(30_000), Code.TOO_DEEP),
    Case("B20-hundred-thousand-deep", nested(100_000), Code.TOO_LARGE),
    Case("B20-objects", raw("extra", '{"a":' * 5000 + "1" + "}" * 5000), Code.TOO_DEEP),
    Case("B21-unclosed", b"[" * 60_000, Code.TOO_DEEP),
    Case("B21-unclosed-megabyte", b"[" * 1_000_000, Code.TOO_LARGE),
    Case("B21-long-array", b"[" + b"1," * 30_000 + b"1]", Code.NOT_AN_OBJECT),
    Case("B21-many-keys", many_keys(5_000), {"unknown_fields": 5_000}),
    Case("B21-hundred-thousand-keys", many_keys(100_000), Code.TOO_LARGE),
    Case("B22-4300-digits", raw("starts_at", "9" * 4300), Code.TIMESTAMP_OUT_OF_RANGE),
    Case("B22-4301-digits", raw("starts_at", "9" * 4301), Code.NUMBER_TOO_LONG),
    Case("B22-4301-digits-elsewhere", raw("extra", "9" * 4301), Code.NUMBER_TOO_LONG),
    Case("B22-sixty-thousand-digits", raw("starts_at", "9" * 60_000), Code.NUMBER_TOO_LONG),
    Case("B22-million-digits", raw("starts_at", "9" * 1_000_000), Code.TOO_LARGE),
    Case("B23-byte-order-mark", b"\xef\xbb\xbf" + GOOD, Code.BYTE_ORDER_MARK),
    Case("B24-utf16", GOOD.decode().encode("utf-16"), Code.NOT_UTF8),
    Case("B24-utf16-le", GOOD.decode().encode("utf-16-le"), Code.NOT_JSON),
    Case("B24-utf16-be", GOOD.decode().encode("utf-16-be"), Code.UNKNOWN_FRAMING),
    Case("B24-utf32", GOOD.decode().encode("utf-32"), Code.NOT_UTF8),
    Case("B24-utf32-be", GOOD.decode().encode("utf-32-be"), Code.UNKNOWN_FRAMING),
    *(
        Case(f"B25-{what}", GOOD.replace(b"Acme", junk), Code.NOT_UTF8)
        for what, junk in (("stray-byte", b"\xff"), ("overlong", b"\xc0\xaf"), ("cut-sequence", b"\xe0\xa4"))
    ),
    Case("B25-in-an-unknown-field", GOOD[:-1] + b',"x":"\xff"}', Code.NOT_UTF8),
    Case("B26-lone-surrogate", raw("label_name", '"Acme \\ud83d"'), Code.LONE_SURROGATE),
    Case("B26-lone-low-surrogate", raw("label_name", '"Acme \\ude00"'), Code.LONE_SURROGATE),
    Case("B26-lone-surrogate-in-an-unknown-field", raw("extra", '"\\ud83d"'), Code.LONE_SURROGATE),
    Case("B26-surrogate-bytes", GOOD.replace(b"Acme", b"\xed\xa0\x80"), Code.NOT_UTF8),
    Case("B26-pair", raw("label_name", '"Acme \\ud83d\\ude00"'), {"label_name": "Acme \U0001f600"}),
    Case("B27-nul-in-text", intent(label_name="Ac\0me"), Code.TEXT_CHARACTERS),
    Case("B27-nul-in-id", intent(intent_id="a\0b"), Code.MALFORMED_INTENT_ID),
    Case("B27-nul-in-attributes", intent(attributes={"a": "b\0"}), Code.ATTRIBUTE_CHARACTERS),
    Case("B27-nul-in-attribute-name", intent(attributes={"a\0": "b"}), Code.ATTRIBUTE_CHARACTERS),
    Case("B27-raw-control", GOOD.replace(b"Acme", b"Ac\x01me"), Code.NOT_JSON),
    Case("B28-unknown-fields", intent(extra=1, __proto__={"a": [1]}), {"unknown_fields": 2}),
    Case("B28-unknown-fields-strict", intent(extra=1), Code.UNKNOWN_FIELD, rules={"strict_unknown_fields": True}),
    Case("B28-five-thousand-strict", many_keys(5_000), Code.UNKNOWN_FIELD, rules={"strict_unknown_fields": True}),
    *(
        Case(f"B29-{what}", intent(**{"caller": ..., name: CALLER}), Code.MISSING_FIELD)
        for what, name in (
            ("upper-case", "Caller"),
            ("leading-space", " caller"),
            ("trailing-space", "caller "),
            ("full-width", "\uff43aller"),
            ("homoglyph", "\u0441aller"),
        )
    ),
    *(Case(f"B30-missing-{n}", intent(**{n: ...}), Code.MISSING_FIELD) for n in REQUIRED if n != "account_id"),
    *(Case(f"B30-null-{n}", intent(**{n: None}), Code.WRONG_TYPE) for n in REQUIRED if n != "account_id"),
    Case("B30-missing-account_id", intent(account_id=...), Code.ACCOUNT_MISSING),
    Case("B30-null-account_id", intent(account_id=None), Code.ACCOUNT_MISSING),
    Case("B30-default-account", intent(account_id=...), {"account_id": ACCOUNT}, rules={"default_account": ACCOUNT}),
    *(
        Case(f"B31-{name}-{text}", raw(name, text), Code.WRONG_TYPE)
        for name in sorted(FULL.keys() - {"priority"})
        for text in sorted({"{}", "[]", "7", "7.5", "true", '"x"'} - {RIGHT_TYPE.get(name, '"x"')})
    ),
    *(
        Case(f"B31-priority-{n}", raw("priority", t), Code.UNKNOWN_PRIORITY)
        for n, t in enumerate(['"HIGH"', "7", "{}"])
    ),
    Case("B31-attribute-value", raw("attributes", '{"a":1}'), Code.WRONG_TYPE),
    Case("B31-attribute-null", raw("attributes", '{"a":null}'), Code.WRONG_TYPE),
]

NUMBERS = [
    *each(
        "B32",
        "time-as-text",
        "starts_at",
        ["1752760800000", " 1 ", "1_000", "1e3", "0x10", "\u0661\u0662\u0663"],
        Code.WRONG_TYPE,
    ),
    *(Case(f"B33-{text}", raw("starts_at", text), Code.WRONG_TYPE) for text in ("true", "false")),
    *(
        Case(f"B34-{text}", raw("starts_at", text), Code.WRONG_TYPE)
        for text in ("1752760800000.0", "1.7527608e12", "1.5", "-0.0")
    ),
    Case("B35-seconds", intent(starts_at=1_752_760_800), Code.TIMESTAMP_IN_SECONDS),
    Case("B35-microseconds", intent(starts_at=1_752_760_800_000_000), Code.TIMESTAMP_IN_MICROSECONDS),
    Case("B35-nanoseconds", intent(starts_at=1_752_760_800_000_000_000), Code.TIMESTAMP_IN_NANOSECONDS),
    Case("B35-end-in-seconds", intent(ends_at=1_752_764_400), Code.TIMESTAMP_IN_SECONDS),
    Case("B35-both-in-seconds", window(1_752_760_800, 1_752_764_400), Code.TIMESTAMP_IN_SECONDS),
    Case("B36-ends-before-start", window(NOW_MS + HOUR_MS, NOW_MS + HOUR_MS - 1), Code.ENDS_BEFORE_START),
    Case("B36-equal", window(NOW_MS + HOUR_MS, NOW_MS + HOUR_MS), {"ends_at": NOW_MS + HOUR_MS}),
    Case("B36-a-day", window(NOW_MS, NOW_MS + DAY_MS), {"ends_at": NOW_MS + DAY_MS}),
    Case("B36-a-day-and-1-ms", window(NOW_MS, NOW_MS + DAY_MS + 1), Code.WINDOW_TOO_LONG),
    *(
        Case(f"B37-ends-{what}", window(NOW_MS - HOUR_MS, ends_at), expected)
        for what, ends_at, expected in (
            ("before-now", NOW_MS - 1, Code.EXPIRED),
            ("now", NOW_MS, Code.EXPIRED),
            ("after-now", NOW_MS + 1, Code.EXPIRED),
            ("just-before-the-margin", NOW_MS + MARGIN_MS - 1, Code.EXPIRED),
            ("at-the-margin", NOW_MS + MARGIN_MS, Code.EXPIRED),
            ("just-after-the-margin", NOW_MS + MARGIN_MS + 1, {"ends_at": NOW_MS + MARGIN_MS + 1}),
        )
    ),
    Case("B38-started-already", window(NOW_MS - HOUR_MS, NOW_MS + HOUR_MS), {"starts_at": NOW_MS - HOUR_MS}),
    Case("B38-at-the-horizon", window(NOW_MS + HORIZON_MS - 1, NOW_MS + HORIZON_MS), {"ends_at": NOW_MS + HORIZON_MS}),
    Case("B38-beyond-the-horizon", window(NOW_MS + HORIZON_MS, NOW_MS + HORIZON_MS + 1), Code.BEYOND_HORIZON),
    Case("B38-a-year-ahead", window(NOW_MS + 365 * DAY_MS, NOW_MS + 365 * DAY_MS), Code.BEYOND_HORIZON),
    *(
        Case(f"B39-{text}", raw("starts_at", text), expected)
        for text, expected in (
            ("-1", Code.TIMESTAMP_OUT_OF_RANGE),
            ("0", Code.TIMESTAMP_OUT_OF_RANGE),
            ("-0", Code.TIMESTAMP_OUT_OF_RANGE),
            (str(2**31), Code.TIMESTAMP_IN_SECONDS),
            (str(2**53 + 1), Code.TIMESTAMP_OUT_OF_RANGE),
            (str(2**63 - 1), Code.TIMESTAMP_OUT_OF_RANGE),
            (str(2**63), Code.TIMESTAMP_OUT_OF_RANGE),
            (str(2**64), Code.TIMESTAMP_OUT_OF_RANGE),
        )
    ),
    *each(
        "B40",
        "iso-8601",
        "starts_at",
        ["2025-07-17T14:00:00Z", "2025-07-17T14:00:00", "2016-12-31T23:59:60Z", "2025-03-30T02:30:00+01:00"],
        Code.WRONG_TYPE,
    ),
]

PHONES = [
    Case("B41-plus", intent(caller="+" + CALLER, receiver="+" + RECEIVER), {"caller": CALLER, "receiver": RECEIVER}),
    Case("B41-no-plus", intent(), {"caller": CALLER, "receiver": RECEIVER}),
    Case("B41-double-zero", intent(caller="00" + CALLER), Code.MALFORMED_PHONE),
    Case("B42-8-digits", intent(receiver="49123456"), {"receiver": "49123456"}),
    Case("B42-15-digits", intent(receiver="491234567890123"), {"receiver": "491234567890123"}),
    *each(
        "B42",
        "digits",
        "receiver",
        ["4912345", "4912345678901234", "", "+", "+0919812345678", "++919812345678"],
        Code.MALFORMED_PHONE,
    ),
    *each(
        "B43",
        "decorated",
        "receiver",
        [
            *("91 98123 45678", " 919812345678", "919812345678 ", "91-9812345678", "91.9812345678", "(91)9812345678"),
            *(
                "91\u00a09812345678",
                "91\u200b9812345678",
                "\u202d919812345678",
                "\u200e919812345678",
                "91\u00ad9812345678",
            ),
        ],
        Code.MALFORMED_PHONE,
    ),
    *each(
        "B44", "line-break", "receiver", ["919812345678\n", "+919812345678\r\n", "\n919812345678"], Code.MALFORMED_PHONE
    ),
    *each(
        "B45",
        "other-digits",
        "receiver",
        [
            "9\u09679812345678",
            "+9\u09679812345678",
            "\u0669\u06619812345678",
            "\uff19\uff119812345678",
            "\U0001d7d79812345678",
        ],
        Code.MALFORMED_PHONE,
    ),
    *each(
        "B46",
        "extension",
        "receiver",
        [
            "919812345678;ext=5",
            "tel:+919812345678",
            "919812345678,1",
            "919812345678p1",
            "919812345678w",
            "sip:a@b.example",
        ],
        Code.MALFORMED_PHONE,
    ),
    Case("B47-same", intent(receiver=CALLER), Code.CALLER_IS_RECEIVER),
    Case("B47-same-but-for-the-plus", intent(receiver="+" + CALLER), Code.CALLER_IS_RECEIVER),
    *each("B48", "short-code", "receiver", ["112", "911", "57575", "1909"], Code.MALFORMED_PHONE),
    # Who owns a caller and what a receiver costs is the API's to know; nothing here guesses number plans.
    Case("B48-premium-passes", intent(receiver="19005550199"), {"receiver": "19005550199"}),
    Case("B49-integer", raw("receiver", RECEIVER), Code.WRONG_TYPE),
    Case("B49-float", raw("receiver", "9.19812345678e11"), Code.WRONG_TYPE),
    Case("B49-negative", raw("receiver", "-919812345678"), Code.WRONG_TYPE),
    Case("B50-long", intent(receiver="9" * 60_000), Code.MALFORMED_PHONE),
    Case("B50-ten-megabytes", intent(receiver="9" * 10_000_000), Code.TOO_LARGE),
    *each("B51", "masked", "receiver", ["91******5678", "NULL", "undefined", "None", "N/A"], Code.MALFORMED_PHONE),
]

STRINGS = [
    *(
        Case(f"B52-{field}-{length}", intent(**{field: "x" * length}), expected or {field: "x" * length})
        for field, length, expected in (
            ("call_reason", 9, Code.TEXT_TOO_SHORT),
            ("call_reason", 10, None),
            ("call_reason", 100, None),
            ("call_reason", 101, Code.TEXT_TOO_LONG),
            ("call_reason", 501, Code.TEXT_TOO_LONG),
            ("label_name", 2, Code.TEXT_TOO_SHORT),
            ("label_name", 3, None),
            ("label_name", 40, None),
            ("label_name", 41, Code.TEXT_TOO_LONG),
            ("label_name", 201, Code.TEXT_TOO_LONG),
        )
    ),
    Case("B53-100-emoji", intent(call_reason="\U0001f4e6" * 100), Code.TEXT_TOO_LONG),
    Case("B53-51-emoji", intent(call_reason="\U0001f4e6" * 51), Code.TEXT_TOO_LONG),
    Case("B53-50-emoji", intent(call_reason="\U0001f4e6" * 50), {"call_reason": "\U0001f4e6" * 50}),
    Case(
        "B54-one-family",
        intent(call_reason="\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"),
        Code.TEXT_TOO_SHORT,
    ),
    Case("B55-composed-before-counting", intent(call_reason="e\u0301" * 5), Code.TEXT_TOO_SHORT),
    Case("B55-composed-when-sent", intent(call_reason="e\u0301" * 10), {"call_reason": "\u00e9" * 10}),
    *(
        Case(f"B56-{what}", intent(call_reason=character * 10), expected)
        for what, character, expected in (
            ("spaces", " ", Code.TEXT_TOO_SHORT),
            ("nuls", "\0", Code.TEXT_CHARACTERS),
            ("line-breaks", "\n", Code.TEXT_TOO_SHORT),
            ("joiners", "\u200d", Code.TEXT_CHARACTERS),
            ("byte-order-marks", "\ufeff", Code.TEXT_CHARACTERS),
            ("hangul-fillers", "\u3164", Code.TEXT_INVISIBLE),
            ("empty-braille", "\u2800", Code.TEXT_INVISIBLE),
            ("variation-selectors", "\ufe0f", Code.TEXT_MARKS),
        )
    ),
    Case("B57-spaces-around-9", intent(call_reason=" parcel it "), Code.TEXT_TOO_SHORT),
    Case("B57-spaces-around-10", intent(call_reason="\u00a0 parcel in \n"), Code.TEXT_TOO_SHORT),
    Case("B57-trimmed", intent(call_reason="  Your parcel\t\n"), {"call_reason": "Your parcel"}),
    *(
        Case(f"B58-{what}", intent(label_name=text), expected)
        for what, text, expected in (
            ("override", "Acme \u202ekcab", Code.TEXT_CHARACTERS),
            ("isolate", "Acme \u2066x\u2069", Code.TEXT_CHARACTERS),
            ("mark", "Acme\u200f", Code.TEXT_CHARACTERS),
            ("soft-hyphen", "Ac\u00adme", Code.TEXT_CHARACTERS),
            ("zero-width-space", "Ac\u200bme", Code.TEXT_CHARACTERS),
            ("tags", "Acme\U000e0041\U000e0042", Code.TEXT_CHARACTERS),
            ("escape", "Acme\x1b[31m", Code.TEXT_CHARACTERS),
            ("line-separator", "Acme\u2028Bank", Code.TEXT_CHARACTERS),
            ("zalgo", "Acme" + "\u0336\u0317\u033f" * 10, Code.TEXT_MARKS),
            ("thai-tower", "\u0e01" + "\u0e47" * 30, Code.TEXT_MARKS),
        )
    ),
    Case("B59-ligature-stays-one", intent(call_reason="\ufdfa" * 10), {"call_reason": "\ufdfa" * 10}),
    Case("B59-ligature-counts-one", intent(call_reason="\ufdfa" * 9), Code.TEXT_TOO_SHORT),
    *(
        Case(f"B60-verbatim-{n}", intent(call_reason=text), {"call_reason": text, "disliked_reason": True})
        for n, text in enumerate(
            [
                "<script>alert(1)</script>",
                "Robert'); DROP TABLE x;--",
                "${jndi:ldap://a}",
                "{{7*7}} is your code",
                "%s%n%s%n%s%n",
            ]
        )
    ),
    Case(
        "B60-refused-where-configured",
        intent(call_reason="Your parcel (2 of 3)"),
        Code.REASON_CHARACTERS,
        rules={"reason_characters": "reject"},
    ),
    Case(
        "B60-not-looked-at-where-configured",
        intent(call_reason="Your parcel (2 of 3)"),
        {"disliked_reason": False},
        rules={"reason_characters": "off"},
    ),
    Case("B60-log-line", intent(call_reason="Your parcel\r\nERROR fake line"), Code.TEXT_CHARACTERS),
    *(
        Case(f"B61-{what}-{field}", intent(**{field: value}), expected if what == "empty" else {field: None})
        for field, expected in (("label_name", Code.TEXT_TOO_SHORT), ("call_reason", Code.TEXT_TOO_SHORT))
        for what, value in (("empty", ""), ("null", None), ("absent", ...))
    ),
    Case("B61-empty-priority", intent(priority=""), Code.UNKNOWN_PRIORITY),
    Case("B61-null-priority", intent(priority=None), {"priority": "normal"}),
    Case("B61-absent-priority", intent(priority=...), {"priority": "normal"}),
    *(Case(f"B61-attributes-{n}", intent(attributes=v), {"attributes": None}) for n, v in enumerate(NO_ATTRIBUTES)),
    Case("B62-noncharacter", intent(label_name="Acme\uffff"), Code.TEXT_CHARACTERS),
    Case("B62-noncharacter-arabic-block", intent(label_name="Acme\ufdd0"), Code.TEXT_CHARACTERS),
    Case("B62-private-use", intent(label_name="Acme\ue000"), Code.TEXT_CHARACTERS),
    Case("B62-plane-16", intent(label_name="Acme\U00100000"), Code.TEXT_CHARACTERS),
    Case("B62-last-of-plane-16", intent(label_name="Acme\U0010ffff"), Code.TEXT_CHARACTERS),
    Case("B62-reserved-invisible", intent(label_name="Acme\U000e0fff"), Code.TEXT_CHARACTERS),
    Case("B62-unassigned", intent(label_name="Acme\U0001faff"), {"label_name": "Acme\U0001faff"}),
]

IDENTIFIERS = [
    *each(
        "B64",
        "other-spelling",
        "account_id",
        [
            *("acme", ACCOUNT.upper(), "{" + ACCOUNT + "}", "urn:uuid:" + ACCOUNT, ACCOUNT.replace("-", "")),
            *(ACCOUNT + " ", " " + ACCOUNT, ACCOUNT + "\n"),
        ],
        Code.MALFORMED_UUID,
    ),
    Case("B64-nil", intent(account_id="00000000-0000-0000-0000-000000000000"), Code.UNKNOWN_ACCOUNT),
    *each(
        "B65",
        "path",
        "account_id",
        ["..", ".", "a/../../token", "a?x=1", "a#f", "%2e%2e", "//evil.example/", "", ACCOUNT + "/.."],
        Code.MALFORMED_UUID,
    ),
    Case("B66-unknown", intent(account_id=OTHER_ACCOUNT), Code.UNKNOWN_ACCOUNT),
    Case("B66-unknown-default", intent(account_id=...), Code.UNKNOWN_ACCOUNT, rules={"default_account": OTHER_ACCOUNT}),
    *each("B67", "no-uuid", "label_id", ["acme", "", LABEL.upper(), LABEL + "\n"], Code.MALFORMED_UUID),
    Case("B67-null-label", intent(label_id=None), Code.WRONG_TYPE),
    Case("B67-name-without-label", intent(label_id=...), Code.MISSING_FIELD),
    Case("B67-label-without-name", intent(label_name=None), {"label_id": LABEL, "label_name": None}),
    Case("B67-label-that-nobody-knows-here", intent(label_id=OTHER_ACCOUNT), {"label_id": OTHER_ACCOUNT}),
    *each(
        "B70",
        "malformed",
        "intent_id",
        ["", "a" * 65, "a" * 10_000, "a b", "a/b", "a\n", "é"],
        Code.MALFORMED_INTENT_ID,
    ),
    Case("B70-missing", intent(intent_id=...), Code.MISSING_FIELD),
    Case("B70-longest", intent(intent_id="a" * 64), {"intent_id": "a" * 64}),
]

CASES = FRAMING + JSON + NUMBERS + PHONES + STRINGS + IDENTIFIERS


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
@pytest.mark.faults("F27")
def test_bad_input_gets_its_reason_or_its_acceptance(case: Case) -> None:
    result = read(case.value, case.headers, **case.rules)
    if isinstance(case.expected, Code):
        assert isinstance(result, Expired if case.expected is Code.EXPIRED else Refused), result
        assert result.reason.code == case.expected
    else:
        assert isinstance(result, ValidIntent), result
        assert {name: getattr(result, name) for name in case.expected} == case.expected


def key_and_timestamp_are_not_read() -> None:
    """A key of any kind and a timestamp of any year change nothing, since neither is looked at."""
    assert list(inspect.signature(read_intent).parameters) == ["value", "headers", "rules", "now_ms"]


def claimed_coordinates_are_ignored() -> None:
    """Headers in our own names are not believed; that ours overrule them in a dead letter is held by its contract."""
    claims = [("__connect.errors.offset", b"7"), ("callstream.reason", b"x"), ("x-source-offset", b"7")]
    assert read(GOOD, claims) == read(GOOD)
    assert read(b"x", claims) == read(b"x")


def control_records_are_no_intents() -> None:
    """Should a client ever hand over a transaction marker, it is refused; isolation itself is held by the transport."""
    commit_marker = b"\0\0\0\0\0\7"
    assert read(commit_marker) == Refused(read(b"\0").reason)  # type: ignore[union-attr]  # the assertion is that it was refused


def repeated_intents_are_all_accepted() -> None:
    """No state, no de-duplication: the same event is the same intent again; the lane keeps a pair in order."""
    first, again = read(GOOD), read(GOOD)
    assert isinstance(first, ValidIntent)
    assert first == again


def more_than_a_batch_is_accepted() -> None:
    """501 identical intents of one millisecond are 501 intents; the lane cuts them into batches."""
    assert [type(read(GOOD)) for _ in range(501)] == [ValidIntent] * 501


def overlapping_windows_of_a_pair_are_accepted() -> None:
    """Out of order and overlapping is the dialer's choice; that a pair is never overtaken is held by the lane."""
    later, earlier = read(window(NOW_MS + HOUR_MS, NOW_MS + 3 * HOUR_MS)), read(window(NOW_MS, NOW_MS + 2 * HOUR_MS))
    assert isinstance(later, ValidIntent)
    assert isinstance(earlier, ValidIntent)
    assert (later.caller, later.receiver) == (earlier.caller, earlier.receiver)


def random_accounts_are_refused_without_a_trace() -> None:
    """Any number of made-up accounts gives one reason; what must stay bounded for known ones is held by the lanes."""
    made_up = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(1000)]
    results = [read(intent(account_id=account_id)) for account_id in made_up]
    assert {result.reason for result in results if isinstance(result, Refused)} == {results[0][0]}
    assert [result.account_id for result in results] == made_up


def personal_data_in_a_reason_stays_in_it() -> None:
    """A number or an address in the text is the company's choice to show; it is sent, and quoted nowhere else."""
    text = "Call 919898989898 or a@b.example"
    accepted = read(intent(call_reason=text))
    refused = read(intent(call_reason=text), reason_characters="reject")
    assert isinstance(accepted, ValidIntent)
    assert accepted.call_reason == text
    assert "9898" not in repr(accepted)
    assert "9898" not in repr(refused)


CHECKS: list[tuple[str, Callable[[], None]]] = [
    ("B3-keys", key_and_timestamp_are_not_read),
    ("B9-claimed-coordinates", claimed_coordinates_are_ignored),
    ("B10-F97-timestamps", key_and_timestamp_are_not_read),
    ("B11-transaction-markers", control_records_are_no_intents),
    ("B12-same-event-twice", repeated_intents_are_all_accepted),
    ("B63-personal-data-in-text", personal_data_in_a_reason_stays_in_it),
    ("B68-many-at-once", more_than_a_batch_is_accepted),
    ("B69-overlapping-windows", overlapping_windows_of_a_pair_are_accepted),
    ("B71-random-accounts", random_accounts_are_refused_without_a_trace),
]


@pytest.mark.parametrize("check", [pytest.param(check, id=name) for name, check in CHECKS])
def test_bad_input_beyond_one_message(check: Callable[[], None]) -> None:
    check()


def test_every_row_has_a_case() -> None:
    covered = {
        int(name.split("-")[0].removeprefix("B")) for name in [case.id for case in CASES] + [n for n, _ in CHECKS]
    }
    assert covered == set(ROWS)


def test_case_ids_are_unique() -> None:
    ids = [case.id for case in CASES]
    assert len(set(ids)) == len(ids)


def test_every_reason_occurs_in_a_case() -> None:
    missing = set(Code) - {case.expected for case in CASES if isinstance(case.expected, Code)}
    assert missing == {Code.TOO_MANY_ATTRIBUTES, Code.ATTRIBUTES_TOO_LARGE}  # no strangers' mistakes: see the reader


@pytest.mark.faults("F28")
def test_no_bad_input_takes_long() -> None:
    """CPU time, not time: others use this machine. The best of three: the collector of a large process takes its time,
    too. The worst is a few milliseconds.
    """
    read(intent(label_name="बैंक"))  # tables that are built once
    for case in CASES:
        assert min(cpu_s(lambda: read(case.value, case.headers, **case.rules)) for _ in range(3)) < 0.1  # noqa: B023 - called at once


def cpu_s(call: Callable[[], object]) -> float:
    """The CPU time that a call takes, in seconds."""
    started_s = time.process_time()
    call()
    return time.process_time() - started_s
