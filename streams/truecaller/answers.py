"""What answers look like: every documented shape is read, whatever version was called, and nothing else is believed.

Pages of different ages disagree, so reading is tolerant (two error envelopes, a batch id in a field or inside prose,
three shapes of a status answer) while the result is strict: a value that exists here is of the right type and bounded.
Request rules are never applied to answers: the vendor's own examples break them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from streams.contracts.batch_id import is_batch_id
from streams.lane.verdict import RecordState, RecordStatus
from streams.truecaller.scrub import field_or_none, scrub, slug_or_none

_BOM: Final = b"\xef\xbb\xbf"
_PROSE_BATCH_ID: Final = re.compile(r"BatchID:\s*([0-9A-Za-z_-]{1,128})(?![0-9A-Za-z_-])", re.IGNORECASE)
_TOKEN: Final = re.compile(r"[!-~]{8,4096}")
_NUMBER: Final = re.compile(r"\+?([0-9]{7,15})")
_DIGITS: Final = re.compile(r"[0-9]{1,15}")

_ERROR_WORDS: Final = frozenset({"error", "failed", "failure", "rejected", "invalid"})
_STATES: Final[dict[str, RecordState]] = {
    "success": RecordState.DELIVERED,
    **dict.fromkeys(_ERROR_WORDS | {"expired"}, RecordState.FAILED),
}


@dataclass(frozen=True, slots=True)
class ApiError:
    """An error envelope: ``{slug, message}`` or ``{status, field, message}``; every part may be missing, all scrubbed.

    ``rejection`` tells that it speaks about the request's content, ``token`` that the token was not accepted.
    """

    slug: str | None
    field: str | None
    message: str | None
    rejection: bool = False
    token: bool = False


class Unreadable:
    """The type of ``UNREADABLE``: the body is not JSON."""


UNREADABLE: Final = Unreadable()


def read_json(body: bytes) -> Any | Unreadable:
    """Read ``body`` as JSON; a byte order mark, NaN and a stray encoding are forgiven. Else ``UNREADABLE``."""
    body = body.removeprefix(_BOM)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return UNREADABLE


def read_error(value: object) -> ApiError | None:
    """Return the error that an answer names, or ``None`` where it names none."""
    if not isinstance(value, Mapping):
        return None
    nested = value.get("status_info")
    inner = nested if isinstance(nested, Mapping) else value
    status = inner.get("status")
    failed = isinstance(status, str) and status.strip().lower() in _ERROR_WORDS
    slug = slug_or_none(value.get("slug"))
    if not (failed or value.get("slug") or value.get("error") or value.get("errors")):
        return None
    text = inner.get("message")
    message = scrub(text) if isinstance(text, str) and text else None
    token = slug == "authorization-error" or "failed to parse token" in (message or "").lower()
    return ApiError(
        slug=slug,
        field=field_or_none(inner.get("field")),
        message=message,
        rejection=failed or slug == "invalid-input",
        token=token,
    )


def read_batch_id(value: object) -> str | None:
    """Return the batch id that a create answer names, or ``None``: in a field, one level down, or inside the prose."""
    if not isinstance(value, Mapping):
        return None
    data = value.get("data")
    places = (value, data) if isinstance(data, Mapping) else (value,)
    for place in places:
        for name in ("batch_id", "batchId"):
            found = _text(place.get(name))
            if found is not None and is_batch_id(found):
                return found
    message = value.get("message")
    match = _PROSE_BATCH_ID.search(message) if isinstance(message, str) else None
    return match[1] if match else None


def is_token(text: str) -> bool:
    """Whether ``text`` can travel in a header as an access token."""
    return _TOKEN.fullmatch(text) is not None


def read_token(value: object) -> str | None:
    """Return the access token of a mint answer, or ``None``. Only what can travel in a header is taken."""
    if not isinstance(value, Mapping):
        return None
    for name in ("token", "access_token", "accessToken"):
        token = value.get(name)
        if isinstance(token, str) and is_token(token):
            return token
    return None


def read_statuses(value: object, batch_id: str) -> tuple[RecordStatus, ...] | None:
    """Return the records of a status answer, or ``None`` if there is no list of records or it is another batch's."""
    items = value
    if isinstance(value, Mapping):
        if value.get("batch_id", batch_id) != batch_id:
            return None
        items = value.get("data")
        if isinstance(items, Mapping):
            items = items.get("records", items.get("call_records"))
        elif items is None:
            items = value.get("call_records", [] if "data" in value else None)
    if not isinstance(items, list):
        return None
    mine = [item for item in items if isinstance(item, dict) and item.get("batch_id", batch_id) == batch_id]
    if items and not mine:
        return None
    return tuple(_record(item) for item in mine)


def read_labels(value: object) -> frozenset[str] | None:
    """Return the ids of the dynamic labels of a page, or ``None`` if there is no list of labels.

    The page is an array (vendor page "Get Call Personalisation Label"), or an object that has it under ``data`` or
    ``labels``. An item that says that it is of another type is none of them; one without an id makes it no list.
    """
    items = value
    if isinstance(value, Mapping):
        items = value.get("data", value.get("labels"))
        if isinstance(items, Mapping):
            items = items.get("labels")
    if not isinstance(items, list):
        return None
    if not all(isinstance(item, dict) and isinstance(item.get("id"), str) for item in items):
        return None
    return frozenset(item["id"].lower() for item in items if item.get("label_type", "dynamic") == "dynamic")


def _record(item: dict[str, Any]) -> RecordStatus:
    get = item.get
    info = get("status_info")
    word, message = get("status"), get("message")
    if isinstance(info, dict):
        word = info.get("status", word)
        message = info.get("message") or info.get("reason") or info.get("error") or info.get("field") or message
    elif isinstance(info, str):
        word = info
    raw = word if isinstance(word, str) else ""
    return RecordStatus(
        record_id=_text(get("id")),
        caller=_number(get("caller_number", get("caller"))),
        receiver=_number(get("receiver_number", get("receiver"))),
        label_id=_text(get("label_id")),
        label_name=_text(get("dynamic_label_name", get("label_name"))),
        call_reason=_text(get("dynamic_call_reason", get("call_reason"))),
        starts_at=_integer(get("starts_at")),
        ends_at=_integer(get("ends_at")),
        state=_STATES.get(raw) or _STATES.get(raw.strip().lower(), RecordState.PENDING),
        raw=raw if raw in _STATES else scrub(raw),
        message=scrub(message) if isinstance(message, str) and message else None,
    )


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def _number(value: object) -> str | None:
    match = _NUMBER.fullmatch(str(value)) if isinstance(value, str | int) else None
    return match[1] if match else None


def _integer(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return None
