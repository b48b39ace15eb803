"""Whether a batch is well-formed: every documented rule, in each generation's own field names.

One bad record refuses the whole batch, with the first broken rule as the vendor words it. The rules are the vendor's
(docs.truecaller.com, "Call Personalisation (Bulk)" and "Batch v2"), checked here on their own: sharing code with the
client would let both be wrong together.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

Version = Literal["v1", "v2", "v3"]

RECORDS_MAX: Final = 500
DAY_MS: Final = 24 * 3600 * 1000

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Epoch milliseconds have 13 digits from 2001 to 2286; seconds have 10, microseconds 16.
_MS_MIN: Final = 10**12
_MS_MAX: Final = 10**13


@dataclass(frozen=True, slots=True)
class Shape:
    """Field names and number format of one generation."""

    caller: str
    receiver: str
    label_name: str
    call_reason: str
    number: re.Pattern[str]
    number_rule: str
    label_required: bool
    fields: frozenset[str]


class Flaw(NamedTuple):
    """The first broken rule: the field, and the rule in the vendor's manner."""

    field: str
    message: str


def _shape(names: tuple[str, str, str, str], number: str, rule: str, *, label_required: bool) -> Shape:
    fields = frozenset({*names, "label_id", "starts_at", "ends_at"})
    return Shape(*names, re.compile(number), rule, label_required, fields)


_V2_NAMES: Final = ("caller_number", "receiver_number", "dynamic_label_name", "dynamic_call_reason")
SHAPES: Final[dict[Version, Shape]] = {
    "v1": _shape(
        ("caller", "receiver", "label_name", "call_reason"),
        r"[1-9][0-9]{7,14}",
        "must be digits with country code, without +",
        label_required=True,
    ),
    # The v2 page's own example mixes both spellings.
    "v2": _shape(_V2_NAMES, r"\+?[1-9][0-9]{7,14}", "must be digits with country code", label_required=False),
    "v3": _shape(_V2_NAMES, r"\+[1-9][0-9]{7,14}", "must be in E.164 format, with +", label_required=False),
}


def find_flaw(version: Version, records: object, now_ms: int, bad: str = "") -> Flaw | None:
    """Return the first flaw of a batch that arrived at ``now_ms`` (epoch milliseconds), or ``None``.

    A record whose receiver ends with ``bad`` is one too, unless that is empty.
    """
    if not isinstance(records, list) or not 1 <= len(records) <= RECORDS_MAX:
        return Flaw("call_records", f"call_records must be a list of 1 to {RECORDS_MAX} records")
    shape = SHAPES[version]
    for record in records:
        flaw = _record_flaw(shape, record, now_ms)
        if flaw is not None:
            return flaw
        if bad and record[shape.receiver].endswith(bad):
            return Flaw(shape.receiver, f"{shape.receiver} is not accepted")
    return None


def numbers_of(version: Version, records: Sequence[dict[str, Any]]) -> list[tuple[str, str, str | None, int, int]]:
    """The fields that identify each record, as the ledger keeps them: numbers without ``+`` in every generation."""
    shape = SHAPES[version]
    return [
        (
            r[shape.caller].lstrip("+"),
            r[shape.receiver].lstrip("+"),
            r.get("label_id"),
            r["starts_at"],
            r["ends_at"],
        )
        for r in records
    ]


def _record_flaw(shape: Shape, record: object, now_ms: int) -> Flaw | None:
    if not isinstance(record, dict):
        return Flaw("call_records", "a record must be an object")
    if not record.keys() <= shape.fields:
        return Flaw("call_records", f"unknown field {min(record.keys() - shape.fields)[:40]}")
    for name in (shape.caller, shape.receiver):
        number = record.get(name)
        if not isinstance(number, str) or not shape.number.fullmatch(number):
            return Flaw(name, f"{name} {shape.number_rule}" if number is not None else f"{name} is required")
    label_id = record.get("label_id")
    if label_id is None:
        if shape.label_required or "label_id" in record:
            return Flaw("label_id", "label_id is required")
    elif not isinstance(label_id, str) or not _UUID.fullmatch(label_id):
        return Flaw("label_id", "label_id must be a uuid")
    return (
        _text_flaw(record, shape.label_name, 3, 40)
        or _text_flaw(record, shape.call_reason, 10, 100)
        or _window_flaw(record.get("starts_at"), record.get("ends_at"), now_ms)
    )


def _text_flaw(record: dict[str, Any], name: str, least: int, most: int) -> Flaw | None:
    if name not in record:
        return None
    text = record[name]
    if isinstance(text, str) and least <= len(text) <= most:
        return None
    return Flaw(name, f"{name} must have {least} to {most} characters")


def _window_flaw(starts_at: object, ends_at: object, now_ms: int) -> Flaw | None:
    for name, value in (("starts_at", starts_at), ("ends_at", ends_at)):
        if type(value) is not int or not _MS_MIN <= value < _MS_MAX:
            return Flaw(
                name, f"{name} must be epoch time in milliseconds" if value is not None else f"{name} is required"
            )
    assert isinstance(starts_at, int)
    assert isinstance(ends_at, int)
    if ends_at < now_ms:
        return Flaw("ends_at", "ends_at cannot be before the current timestamp")
    if ends_at < starts_at:
        return Flaw("ends_at", "ends_at cannot be before starts_at")
    if ends_at - starts_at > DAY_MS:
        return Flaw("ends_at", "ends_at cannot be more than 24 hours after starts_at")
    return None
