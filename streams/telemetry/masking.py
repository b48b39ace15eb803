"""What may not stand in a log: phone numbers, tokens, keys.

The last door before the log, for what other code let through: texts of libraries, of the API, of exceptions. Every run
of eight or more digits in a text is taken for a phone number, unless its shape or the word before it says otherwise: a
log line that lost an offset is a nuisance, one that shows a number is a breach. Numbers that code passes as numbers are
kept, except under the names that phone numbers go by.
"""

import re
from collections.abc import Mapping
from typing import Any

DIGITS = "[digits]"
SECRET = "[secret]"  # noqa: S105 - what stands in its place

# Fields whose values are never shown.
_SECRET_NAME = re.compile(
    r"(?:^|[._-])(authorization|cookie|password|passwd|secret|api[_-]?key|key[_-]?id|token|jaas[._]config)$",
    re.IGNORECASE,
)
# Fields that hold a phone number, whatever its type.
_NUMBER_NAMES = frozenset({"caller", "receiver", "caller_number", "receiver_number", "phone", "msisdn"})
# Fields whose texts are made by us or by Kafka and may hold long runs of digits.
_PLAIN_NAMES = frozenset(
    {
        "batch_id", "batch_ref", "generation", "group_id", "instance", "level", "logger", "offset", "span_id",
        "timestamp", "topic", "trace_id", "traceparent", "transactional_id", "version",
    }
)  # fmt: skip

_KEEP = (
    # A UUID.
    r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"
    # A date, perhaps with a time.
    r"|\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?(?!\d)"
    # A hexadecimal digest or trace id: letters among the digits.
    r"|\b(?=[0-9a-f]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{16,64}\b"
    # A fraction of a second.
    r"|(?<![\d.])0\.\d+"
    # Coordinates, as Kafka's clients and we write them.
    r"|\b(?:offsets?|position|watermark|epoch|generation|log end|target)(?: (?:is|at))?\s*[=: ]\s*\d+\b"
    r"|\[\d+, \d+\)"
)
_NUMBER = (
    # Written for people: +91 98765 43210, +91-9876543210, 98765 43210.
    r"\+\d[\d ()-]{6,20}\d"
    r"|(?<!\d)\d{5}[ -]\d{5}(?!\d)"
    # Any long run of digits, with or without +, in any script.
    r"|\+?\d{8,}"
)
_SCAN = re.compile(f"(?P<keep>{_KEEP})|(?P<number>{_NUMBER})", re.IGNORECASE)

_BEARER = re.compile(r"\b(bearer|basic)\s+[^\s'\",;]+", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"""\b(authorization|(?:sasl[._])?password|secret|api[_-]?key|key[_-]?id|(?:access[_-]?)?token)\b(["']?\s*[:=]\s*)"""
    r"""(?!\s*(?:bearer|basic)\b)(?:b?["'][^"']*["']|[^\s'",;}&]+)""",
    re.IGNORECASE,
)
# A library may quote a whole answer of somebody else's server.
TEXT_MAX = 16 * 1024

# The ordinals by which tokens are told apart are no secret.
_ORDINAL_MAX = 9999

_QUICK = re.compile(r"\d{5}|\+\d|bearer|basic|authorization|password|secret|key|token", re.IGNORECASE)


def mask_text(text: str) -> str:
    """Return ``text`` without what could be a phone number, a token or a key."""
    if len(text) > TEXT_MAX:
        # Cut before a number, not through it: its head would be too short to be recognised.
        text = text[:TEXT_MAX].rstrip("+0123456789 ()-") + f"… ({len(text)} characters)"
    if not _QUICK.search(text):
        return text
    text = _BEARER.sub(rf"\1 {SECRET}", text)
    text = _ASSIGNED.sub(rf"\1\2{SECRET}", text)
    return _SCAN.sub(lambda found: found["keep"] or DIGITS, text)


def mask_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a log event, masked, nested ones too."""
    return {mask_text(str(name)): _mask_value(str(name), value) for name, value in fields.items()}


def _mask_value(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if _SECRET_NAME.search(name) and not (isinstance(value, int) and value <= _ORDINAL_MAX):
        return SECRET
    if name.lower() in _NUMBER_NAMES:
        return DIGITS
    if isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return mask_fields(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_mask_value(name, item) for item in value]
    # Bytes and objects are logged as their repr; made here, so that it is masked too.
    text = str(value) if isinstance(value, str) else repr(value)
    return text if name in _PLAIN_NAMES else mask_text(text)
