"""JSON that two readers would read differently, and JSON that does not have the shape: found, and explained.

The parser on the good path keeps the last of two equal keys and takes ``NaN`` in a field that is dropped. Whoever
checked the first of two receivers would then call the second. What must stay true: an intent is only accepted when
every reader that follows RFC 8259 sees the same fields in it.
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Never

import orjson
from pydantic import ValidationError

from streams.contracts.intent import FIELDS, CallIntent
from streams.contracts.outcome import Reason
from streams.intake.reasons import Code, because

# As many digits as Python itself converts; the time to convert more grows with their square.
_DIGITS_MAX: Final = 4300

_PATTERN_CODES: Final = {
    "intent_id": Code.MALFORMED_INTENT_ID,
    "account_id": Code.MALFORMED_UUID,
    "label_id": Code.MALFORMED_UUID,
    "caller": Code.MALFORMED_PHONE,
    "receiver": Code.MALFORMED_PHONE,
}
# The errors that a declared shape can raise; whatever is not named here is a wrong type.
_SHAPE_CODES: Final = {
    "missing": Code.MISSING_FIELD,
    "string_too_short": Code.TEXT_TOO_SHORT,
    "string_too_long": Code.TEXT_TOO_LONG,
    "greater_than_equal": Code.TIMESTAMP_OUT_OF_RANGE,
    "less_than_equal": Code.TIMESTAMP_OUT_OF_RANGE,
    "literal_error": Code.UNKNOWN_PRIORITY,
    "too_long": Code.TOO_MANY_ATTRIBUTES,
}


def unknown_fields(payload: bytes, shape: CallIntent, colons: int) -> int | Reason:
    """Count the fields of a well-formed object that intents do not have, or say what is ambiguous about it.

    Args:
        payload: An object that the parser of the good path has read.
        shape: What it read.
        colons: How many colons are in ``payload``.
    """
    # Without escapes, each pair of the text and each colon inside a string is exactly one colon byte. If what was
    # parsed has as many, no pair was lost on the way: no key occurred twice.
    if b"\\" not in payload:
        if _colons_of(shape) == colons:
            return 0
        try:
            document = orjson.loads(payload)
        except ValueError:
            pass  # stricter than the other parser: NaN
        else:
            if _colons_of(document) == colons:
                return len(set(document) - FIELDS)
    decoded = decode_strictly(payload)
    return len(set(decoded.document) - FIELDS) if decoded.reason is None else decoded.reason


def _colons_of(document: Mapping[str, Any]) -> int:
    return orjson.dumps(document).count(b":")


class Decoded(NamedTuple):
    """An object, and what is wrong with it as JSON. ``document`` then holds what can be trusted nevertheless."""

    document: Mapping[str, Any]
    reason: Reason | None = None


class _NumberTooLong(ValueError):
    pass


def decode_strictly(payload: bytes) -> Decoded:
    """Decode an object as RFC 8259 has it and with each key once, or say why that is impossible."""
    repeated: set[str] = set()

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        merged = dict(pairs)
        if len(merged) != len(pairs):
            repeated.update(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        return merged

    try:
        document = json.loads(
            payload.decode(), object_pairs_hook=unique, parse_constant=_no_constant, parse_int=_bounded_int
        )
    except UnicodeDecodeError:
        return Decoded({}, because(Code.NOT_UTF8))
    except RecursionError:
        return Decoded({}, because(Code.TOO_DEEP))
    except _NumberTooLong:
        return Decoded({}, because(Code.NUMBER_TOO_LONG))
    except ValueError:
        return Decoded({}, because(Code.NOT_JSON))
    if not isinstance(document, dict):
        return Decoded({}, because(Code.NOT_AN_OBJECT))
    if repeated:
        ids = {name: document[name] for name in ("intent_id", "account_id") if name in document.keys() - repeated}
        return Decoded(ids, because(Code.DUPLICATE_KEY))
    return Decoded(document)


def _no_constant(_name: str) -> Never:
    raise ValueError  # NaN and Infinity are no JSON


def _bounded_int(digits: str) -> int:
    if len(digits) > _DIGITS_MAX:
        raise _NumberTooLong
    return int(digits)


def shape_reason(document: Mapping[str, Any], error: ValidationError) -> Reason:
    """Explain the first error, in the order of the fields, of a document that was decoded strictly.

    Args:
        document: What the message says, once decoded.
        error: What the parser of the good path found.
    """
    # An input must never be quoted, and by default each of these carries its own.
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    kind = first["type"]
    if kind == "json_invalid":  # what one parser takes and the other does not
        return because(Code.TOO_DEEP if "recursion" in first["msg"] else Code.LONE_SURROGATE)
    if "specversion" in document and "intent_id" not in document:
        return because(Code.UNKNOWN_TYPE)
    field = str(first["loc"][0])
    if kind == "string_pattern_mismatch":
        return because(_PATTERN_CODES[field], field)
    return because(_SHAPE_CODES.get(kind, Code.WRONG_TYPE), field)
