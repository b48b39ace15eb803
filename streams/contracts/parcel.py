"""Parcels: the valid intents of one account found in one chunk, as one Kafka message.

The row layout is a promise between releases: columns are only ever appended, a reader ignores columns it does not know
and takes missing ones as absent. A message of an unknown kind or version is refused, never skipped: it holds intents.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import orjson

from streams.contracts.errors import UnreadableMessage

PARCEL_KIND = "parcel"
PARCEL_VERSION = 1

# Well below Kafka's 1 MiB message limit, and one account's flood does not delay the others of its partition.
PARCEL_BYTES_MAX = 256 * 1024

Priority = Literal["high", "normal", "low"]


class Row(NamedTuple):
    """One valid intent, normalised, as it travels inside callstream.

    ``source_offset`` is its offset in the parcel's source partition. Numbers are digits with country code and no ``+``.
    ``starts_at``, ``ends_at`` and ``recorded_at`` (the intent's Kafka timestamp) are epoch milliseconds.
    ``traceparent`` is the W3C header the dialer sent along.
    """

    source_offset: int
    intent_id: str
    caller: str
    receiver: str
    label_id: str
    starts_at: int
    ends_at: int
    priority: Priority = "normal"
    label_name: str | None = None
    call_reason: str | None = None
    attributes: dict[str, str] | None = None
    recorded_at: int = 0
    traceparent: str | None = None


ROW_COLUMNS = len(Row._fields)


class Parcel(NamedTuple):
    """The rows of one account from one chunk of ``source_topic``/``source_partition``."""

    account_id: str
    source_topic: str
    source_partition: int
    rows: Sequence[Row]


def encode_parcels(parcel: Parcel, bytes_max: int = PARCEL_BYTES_MAX) -> list[bytes]:
    """Encode a parcel as one message value, or as several where it would be larger than ``bytes_max``."""
    value = _encode(parcel)
    if len(value) <= bytes_max or len(parcel.rows) == 1:
        return [value]
    middle = len(parcel.rows) // 2
    halves = (parcel._replace(rows=parcel.rows[:middle]), parcel._replace(rows=parcel.rows[middle:]))
    return [value for half in halves for value in encode_parcels(half, bytes_max)]


def _encode(parcel: Parcel) -> bytes:
    return orjson.dumps(
        {
            "kind": PARCEL_KIND,
            "version": PARCEL_VERSION,
            "account_id": parcel.account_id,
            "source_topic": parcel.source_topic,
            "source_partition": parcel.source_partition,
            "rows": parcel.rows,
        },
        default=tuple,  # orjson writes plain tuples only, not their subclasses
    )


def decode_parcel(value: bytes | None) -> Parcel:
    """Read a parcel. Operators' commands share its topic: see :func:`streams.contracts.command.decode_delivery`.

    Raises:
        UnreadableMessage: It is not a parcel of a version this release knows.
    """
    try:
        return parcel_of(orjson.loads(value or b""))
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UnreadableMessage("parcel", type(error).__name__) from None


def parcel_of(message: Any) -> Parcel:
    """The parcel in a decoded message.

    Raises:
        UnreadableMessage: It is not a parcel of a version this release knows.
        KeyError: A field is missing.
        TypeError: A field is of another type.
    """
    if message["kind"] != PARCEL_KIND or message["version"] != PARCEL_VERSION:
        raise UnreadableMessage("parcel", f"kind {message['kind']!r} version {message['version']!r}")
    if not all(type(row) is list for row in message["rows"]):
        raise UnreadableMessage("parcel", "a row that is none")
    rows = [Row._make(row) if len(row) == ROW_COLUMNS else Row(*row[:ROW_COLUMNS]) for row in message["rows"]]
    return Parcel(message["account_id"], message["source_topic"], message["source_partition"], rows)
