"""The intent from which the tests of intake start, and the rules and the time that they hold it against."""

from typing import Any

import orjson

from streams.intake.framing import Headers
from streams.intake.reader import Read, read_intent
from streams.intake.rules import IntakeRules

NOW_MS = 1_752_760_000_000
HOUR_MS = 3_600_000
MARGIN_MS = 30_000
HORIZON_MS = 48 * HOUR_MS

ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"
OTHER_ACCOUNT = "5b1f6e0e-43d1-4b0c-9a51-0d8f0f9a7c11"
LABEL = "6dab73bb-28d8-4030-9722-8663ff9589f3"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

REQUIRED: dict[str, Any] = {
    "intent_id": "crm-000123",
    "account_id": ACCOUNT,
    "caller": "919876543210",
    "receiver": "919812345678",
    "label_id": LABEL,
    "starts_at": 1_752_760_800_000,
    "ends_at": 1_752_764_400_000,
}
FULL: dict[str, Any] = {
    **REQUIRED,
    "label_name": "Acme Deliveries",
    "call_reason": "Your parcel arrives today",
    "priority": "high",
    "attributes": {"campaign": "summer", "agent": "a17"},
}


def rules(**changes: Any) -> IntakeRules:
    """The default rules, for one account."""
    fields: dict[str, Any] = {
        "accounts": frozenset({ACCOUNT}),
        "default_account": None,
        "horizon_ms": HORIZON_MS,
        "strict_unknown_fields": False,
        "reason_characters": "warn",
        "expiry_margin_ms": MARGIN_MS,
    }
    return IntakeRules(**{**fields, **changes})


def intent(**changes: Any) -> bytes:
    """The full intent as JSON, with changes; ``...`` leaves a field out."""
    fields = {**FULL, **changes}
    return orjson.dumps({name: value for name, value in fields.items() if value is not ...})


def raw(name: str, text: str) -> bytes:
    """The full intent as JSON, with the raw JSON ``text`` as the value of one field."""
    marker = "\x01here\x01"
    return intent(**{name: marker}).replace(orjson.dumps(marker), text.encode("utf-8", "surrogatepass"))


def read(value: bytes | None, headers: Headers | None = None, **changes: Any) -> Read:
    """Read ``value`` under the default rules, with changes."""
    return read_intent(value, headers, rules(**changes), NOW_MS)
