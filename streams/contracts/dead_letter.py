"""Dead letters: intents that can never be submitted, with the reason, ready to be read, mended and replayed.

The value of an ``invalid`` dead letter is the original bytes, its key and headers are the original ones; that of a
``rejected`` one is the intent as JSON. Coordinates and reason stand in headers, in the names that Kafka Connect uses
(KIP-298), because consoles and redrive tools know them. Ours come last and are namespaced, so that a message that
claims such headers itself cannot pass for ours: the last of a name is the true one.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from streams.contracts.outcome import Reason, Source

Headers = tuple[tuple[str, bytes | None], ...]

# Kafka's default message limit is 1 MiB with key and headers; what is longer is kept as prefix, digest and length. A
# key counts as part of the value.
VALUE_BYTES_MAX = 900_000

# A thousand hostile headers must not make the dead letter larger than a message may be.
HEADERS_BYTES_MAX = 32 * 1024

# The lengths of name and content, each a varint.
_HEADER_OVERHEAD_BYTES = 10


class DeadLetter(NamedTuple):
    """One message of the dead-letter topic."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def dead_letter(
    *,
    source: Source,
    stage: str,
    reason: Reason,
    failed_at_ms: int,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes | None]] = (),
) -> DeadLetter:
    """Build a dead letter. ``stage`` is ``route`` for what we refused, ``submit`` for what the API refused."""
    original = value or b""
    kept_key = key[:VALUE_BYTES_MAX] if key else key
    room = VALUE_BYTES_MAX - len(kept_key or b"")
    kept = value if len(original) <= room else original[:room]
    ours: Headers = (
        ("__connect.errors.topic", source.topic.encode()),
        ("__connect.errors.partition", b"%d" % source.partition),
        ("__connect.errors.offset", b"%d" % source.offset),
        ("__connect.errors.stage", stage.encode()),
        ("__connect.errors.class.name", b"callstream"),
        ("__connect.errors.exception.message", reason.message.encode()),
        ("callstream.reason", reason.code.encode()),
        ("callstream.attempt", b"1"),
        ("callstream.first.failed.at", b"%d" % failed_at_ms),
        ("callstream.sha256", hashlib.sha256(original).hexdigest().encode()),
        ("callstream.length", b"%d" % len(original)),
    )
    return DeadLetter(kept_key, kept, (*_bounded(headers), *ours))


def _bounded(headers: Sequence[tuple[str, bytes | None]]) -> Headers:
    kept: list[tuple[str, bytes | None]] = []
    room = HEADERS_BYTES_MAX
    for name, content in headers:
        room -= _HEADER_OVERHEAD_BYTES + len(name) * 4 + len(content or b"")
        if room < 0:
            break
        kept.append((name, content))
    return tuple(kept)
