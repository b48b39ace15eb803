"""What surrounds the JSON of an intent: nothing, or the prefix of Confluent's JSON Schema serializer.

The wire prefix is a zero byte and a schema id of four bytes; serializers that carry the id in a header leave the value
plain (Confluent, "Wire format"). The id is not looked up: every message is held against our own contract anyway.
"""

import re
from collections.abc import Sequence
from typing import Final

from streams.contracts.outcome import Reason
from streams.intake.reasons import VALUE_BYTES_MAX, Code, because

Headers = Sequence[tuple[str, bytes | None]]

INTENT_TYPE: Final = b"io.callstream.call.intent.v1"
"""The CloudEvents type of this contract, for dialers that publish in binary mode."""

_OUR_TYPES: Final = b"io.callstream."
_PREFIX_BYTES: Final = 5
_JSON_SPACE: Final = b" \t\r\n"
_UTF8_MARK: Final = b"\xef\xbb\xbf"
# Gzip and zstd: a value that was compressed by hand, apart from what the producer does.
_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
_FIRST_TEXT_BYTE: Final = 0x20

# W3C Trace Context, "traceparent": version ff, a zero trace id and a zero parent id are invalid.
_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def unframed(value: bytes | None) -> bytes | Reason:
    """Return the JSON text inside ``value``, or why there is none. At most :data:`VALUE_BYTES_MAX` bytes."""
    if value is None:
        return because(Code.TOMBSTONE)
    if len(value) > VALUE_BYTES_MAX:
        return because(Code.TOO_LARGE)
    if value.startswith(_UTF8_MARK):
        return because(Code.BYTE_ORDER_MARK)
    if value.startswith(_COMPRESSED):
        return because(Code.NOT_JSON)
    if value.startswith(b"\0"):
        inner = value[_PREFIX_BYTES:]
        return inner if inner.lstrip(_JSON_SPACE).startswith((b"{", b"[")) else because(Code.UNKNOWN_FRAMING)
    text = value.lstrip(_JSON_SPACE)
    if not text:
        return because(Code.EMPTY)
    return value if text[0] >= _FIRST_TEXT_BYTE else because(Code.UNKNOWN_FRAMING)


def read_headers(headers: Headers) -> str | Reason | None:
    """Return the ``traceparent`` that a message carries, or the reason if it says it is something else than an intent.

    Names may repeat and contents may be null or no text. The last ``traceparent`` counts, as it does for OpenTelemetry;
    a malformed one is dropped. A type that is not ours is no reason: then the shape decides.
    """
    traceparent = None
    for name, content in headers:
        if name == "traceparent":
            traceparent = content.decode() if content is not None and _TRACEPARENT.fullmatch(content) else None
        elif name == "ce_type" and content is not None and content.startswith(_OUR_TYPES) and content != INTENT_TYPE:
            return because(Code.UNKNOWN_TYPE)
    return traceparent
