"""Every reason for which an intent is refused: a stable code, what is wrong, and who can mend it how.

This is the one table. A code never changes its meaning, since dead letters, outcomes and dashboards keep it. A message
is made of these words, a field name and limits, never of what the dialer sent, because it goes into logs and topics
that must hold no personal data.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from streams.contracts.intent import (
    ATTRIBUTES_MAX,
    CALL_REASON_MAX,
    CALL_REASON_MIN,
    LABEL_NAME_MAX,
    LABEL_NAME_MIN,
)
from streams.contracts.outcome import Reason

# The largest intent, every character escaped, is about 14 KiB; the rest is room for fields that we do not know. What
# is larger is refused before it is parsed, which bounds the time and the memory that one message can cost.
VALUE_BYTES_MAX: Final = 64 * 1024

ATTRIBUTES_BYTES_MAX: Final = 512

# Living scripts stack four or five marks on a letter (Tibetan, pointed Hebrew); text that climbs over the lines of
# others begins above.
MARKS_IN_A_ROW_MAX: Final = 6


class Code(StrEnum):
    """The stable name of a reason."""

    TOMBSTONE = "tombstone"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    UNKNOWN_FRAMING = "unknown_framing"
    UNKNOWN_TYPE = "unknown_type"
    BYTE_ORDER_MARK = "byte_order_mark"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    LONE_SURROGATE = "lone_surrogate"
    TOO_DEEP = "too_deep"
    NUMBER_TOO_LONG = "number_too_long"
    NOT_AN_OBJECT = "not_an_object"
    DUPLICATE_KEY = "duplicate_key"
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    MALFORMED_INTENT_ID = "malformed_intent_id"
    MALFORMED_UUID = "malformed_uuid"
    MALFORMED_PHONE = "malformed_phone"
    CALLER_IS_RECEIVER = "caller_is_receiver"
    ACCOUNT_MISSING = "account_missing"
    UNKNOWN_ACCOUNT = "unknown_account"
    UNKNOWN_PRIORITY = "unknown_priority"
    TEXT_TOO_SHORT = "text_too_short"
    TEXT_TOO_LONG = "text_too_long"
    TEXT_CHARACTERS = "text_characters"
    TEXT_MARKS = "text_marks"
    TEXT_INVISIBLE = "text_invisible"
    REASON_CHARACTERS = "reason_characters"
    TOO_MANY_ATTRIBUTES = "too_many_attributes"
    ATTRIBUTES_TOO_LARGE = "attributes_too_large"
    ATTRIBUTE_CHARACTERS = "attribute_characters"
    TIMESTAMP_IN_SECONDS = "timestamp_in_seconds"
    TIMESTAMP_IN_MICROSECONDS = "timestamp_in_microseconds"
    TIMESTAMP_IN_NANOSECONDS = "timestamp_in_nanoseconds"
    TIMESTAMP_OUT_OF_RANGE = "timestamp_out_of_range"
    ENDS_BEFORE_START = "ends_before_start"
    WINDOW_TOO_LONG = "window_too_long"
    BEYOND_HORIZON = "beyond_horizon"
    EXPIRED = "expired"


class Mender(StrEnum):
    """Who can mend what is wrong."""

    DIALER = "dialer"
    OPERATOR = "operator"
    EITHER = "dialer or operator"


class Rule(NamedTuple):
    """What is wrong, with ``{field}`` where a field is named, the remedy, and who can apply it."""

    wrong: str
    remedy: str
    mender: Mender = Mender.DIALER


_LENGTHS = f"label_name {LABEL_NAME_MIN} to {LABEL_NAME_MAX}, call_reason {CALL_REASON_MIN} to {CALL_REASON_MAX}"
_MILLISECONDS = "send epoch milliseconds (UTC)"
_UUID = "send it in lower case with dashes, 36 characters"

RULES: Final[Mapping[Code, Rule]] = {
    Code.TOMBSTONE: Rule(
        "the message has no value", "publish the intent as the value; there is nothing to delete here"
    ),
    Code.EMPTY: Rule("the value is empty", "publish the intent as one JSON object"),
    Code.TOO_LARGE: Rule(
        f"the value is larger than {VALUE_BYTES_MAX // 1024} KiB", "send the fields of the intent and nothing else"
    ),
    Code.UNKNOWN_FRAMING: Rule(
        "the value begins like a binary format", "use the JSON or the JSON Schema serializer, not Avro or Protobuf"
    ),
    Code.UNKNOWN_TYPE: Rule(
        "the message is an event of another type, or an intent inside an envelope",
        "publish the plain intent, and to the topic of its version",
        Mender.EITHER,
    ),
    Code.BYTE_ORDER_MARK: Rule("the value begins with a byte order mark", "write UTF-8 without one"),
    Code.NOT_UTF8: Rule("the value is not UTF-8", "encode the JSON as UTF-8"),
    Code.NOT_JSON: Rule("the value is not JSON", "send one JSON object, complete, and not compressed by hand"),
    Code.LONE_SURROGATE: Rule(
        "a string holds half of a surrogate pair", "do not cut text between the two halves of a character"
    ),
    Code.TOO_DEEP: Rule("the JSON is nested too deeply", "send a flat object"),
    Code.NUMBER_TOO_LONG: Rule("a number has thousands of digits", "send numbers within 64 bits"),
    Code.NOT_AN_OBJECT: Rule("the value is JSON, but not an object", "send one JSON object per message"),
    Code.DUPLICATE_KEY: Rule(
        "a key occurs twice in an object", "send each key once: readers disagree which one counts"
    ),
    Code.UNKNOWN_FIELD: Rule(
        "there is a field that intents do not have",
        "remove it, put it into attributes, or set intents.strict_unknown_fields to false",
        Mender.EITHER,
    ),
    Code.MISSING_FIELD: Rule("{field} is missing", "send it, spelt exactly so"),
    Code.WRONG_TYPE: Rule(
        "{field} has the wrong JSON type", "timestamps are integers, attributes maps, all else strings"
    ),
    Code.MALFORMED_INTENT_ID: Rule(
        "intent_id is malformed", "use 1 to 64 of the letters A-Z and a-z, digits, dot, underscore, colon and dash"
    ),
    Code.MALFORMED_UUID: Rule("{field} is not a UUID in canonical form", _UUID),
    Code.MALFORMED_PHONE: Rule(
        "{field} is not a phone number with country code",
        "send 8 to 15 digits that begin with the country code, at most one + before them, nothing else",
    ),
    Code.CALLER_IS_RECEIVER: Rule("caller and receiver are the same number", "check which number goes where"),
    Code.ACCOUNT_MISSING: Rule(
        "account_id is missing and no default account is configured",
        "send account_id, or set default_account",
        Mender.EITHER,
    ),
    Code.UNKNOWN_ACCOUNT: Rule(
        "account_id is not a configured account",
        "add the account to the configuration, or correct the id",
        Mender.EITHER,
    ),
    Code.UNKNOWN_PRIORITY: Rule("priority is none of high, normal, low", "send one of them, or leave it out"),
    Code.TEXT_TOO_SHORT: Rule("{field} is too short", f"characters once trimmed: {_LENGTHS}; or leave it out"),
    Code.TEXT_TOO_LONG: Rule(
        "{field} is too long", f"characters once trimmed: {_LENGTHS}; an emoji counts as two or more"
    ),
    Code.TEXT_CHARACTERS: Rule(
        "{field} holds a character that is not text", "remove control, direction, tag and private-use characters"
    ),
    Code.TEXT_MARKS: Rule(
        "{field} stacks too many marks on one letter", f"send at most {MARKS_IN_A_ROW_MAX} combining marks in a row"
    ),
    Code.TEXT_INVISIBLE: Rule("{field} holds nothing visible", "send readable text, or leave it out"),
    Code.REASON_CHARACTERS: Rule(
        "call_reason breaks the API's character rules",
        "avoid ! @ # $ % ^ & * ( ) _ + / anywhere and . , - at the ends, or set intents.reason_characters to warn",
        Mender.EITHER,
    ),
    Code.TOO_MANY_ATTRIBUTES: Rule("attributes has too many entries", f"send at most {ATTRIBUTES_MAX}"),
    Code.ATTRIBUTES_TOO_LARGE: Rule(
        "attributes is too large", f"send at most {ATTRIBUTES_BYTES_MAX} bytes of UTF-8, names and values together"
    ),
    Code.ATTRIBUTE_CHARACTERS: Rule("attributes holds a control character", "remove it"),
    Code.TIMESTAMP_IN_SECONDS: Rule("{field} is in seconds", _MILLISECONDS),
    Code.TIMESTAMP_IN_MICROSECONDS: Rule("{field} is in microseconds", _MILLISECONDS),
    Code.TIMESTAMP_IN_NANOSECONDS: Rule("{field} is in nanoseconds", _MILLISECONDS),
    Code.TIMESTAMP_OUT_OF_RANGE: Rule("{field} is no time between the years 2020 and 2100", _MILLISECONDS),
    Code.ENDS_BEFORE_START: Rule("ends_at is before starts_at", "check which time goes where"),
    Code.WINDOW_TOO_LONG: Rule("ends_at is more than 24 h after starts_at", "shorten the window, or publish it later"),
    Code.BEYOND_HORIZON: Rule(
        "ends_at is further ahead than the horizon",
        "publish the intent later, or raise intents.horizon_h and the retention with it",
        Mender.EITHER,
    ),
    Code.EXPIRED: Rule(
        "ends_at is past, or too close for one more request",
        "publish earlier, or check why the worker lags",
        Mender.EITHER,
    ),
}


def because(code: Code, field: str = "a field") -> Reason:
    """Return the reason ``code``, worded for ``field``."""
    rule = RULES[code]
    return Reason(code, f"{rule.wrong.format(field=field)}: {rule.remedy}")
