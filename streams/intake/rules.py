"""The rules that a schema cannot say: one field against another, against the clock, against the configuration.

Each refusal has its own code in :mod:`streams.intake.reasons`. They may only refuse more than the shape does. The order
is fixed, so that the same message always gets the same reason.
"""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from streams.contracts.intent import ATTRIBUTES_MAX
from streams.contracts.outcome import Reason
from streams.intake.reasons import ATTRIBUTES_BYTES_MAX, Code, because

# The API's rule for the span of a record.
WINDOW_MS_MAX: Final = 24 * 3_600_000

# The years 2020 to 2100 in seconds. The same span in milliseconds, microseconds and nanoseconds lies a factor of 1000
# apart each time, so a unit can be told from the number alone.
_YEAR_2020_S: Final = 1_577_836_800
_YEAR_2100_S: Final = 4_102_444_800
_YEAR_2020_MS: Final = _YEAR_2020_S * 1000
_UNITS: Final = (
    (1, Code.TIMESTAMP_IN_SECONDS),
    (1_000_000, Code.TIMESTAMP_IN_MICROSECONDS),
    (1_000_000_000, Code.TIMESTAMP_IN_NANOSECONDS),
)

_CONTROL: Final = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """What the configuration says about intents.

    ``accounts`` holds the configured account ids, canonical; an id that is not on this list never reaches a URL or a
    lane. ``default_account`` is used where an intent names none.
    ``horizon_ms`` is how far ahead ``ends_at`` may lie. ``reason_characters`` is what happens to a call reason that
    breaks the API's character rules. An intent is expired ``expiry_margin_ms`` before its ``ends_at``, because one
    request may take that long (the deadline of a POST).
    """

    accounts: Container[str]
    default_account: str | None
    horizon_ms: int
    strict_unknown_fields: bool
    reason_characters: Literal["off", "warn", "reject"]
    expiry_margin_ms: int


def clock_reason(starts_at: int, ends_at: int, horizon_end_ms: int) -> Reason | None:
    """Say what is wrong with a window. ``horizon_end_ms`` is the latest possible end; expiry is not decided here."""
    if _YEAR_2020_MS <= starts_at <= ends_at <= horizon_end_ms and ends_at - starts_at <= WINDOW_MS_MAX:
        return None
    return (
        _instant_reason(starts_at, "starts_at")
        or _instant_reason(ends_at, "ends_at")
        or _span_reason(starts_at, ends_at)
    )


def _instant_reason(instant: int, field: str) -> Reason | None:
    if _YEAR_2020_MS <= instant < _YEAR_2100_S * 1000:
        return None
    for per_second, code in _UNITS:
        if _YEAR_2020_S * per_second <= instant < _YEAR_2100_S * per_second:
            return because(code, field)
    return because(Code.TIMESTAMP_OUT_OF_RANGE, field)


def _span_reason(starts_at: int, ends_at: int) -> Reason:
    if ends_at < starts_at:
        return because(Code.ENDS_BEFORE_START)
    if ends_at - starts_at > WINDOW_MS_MAX:
        return because(Code.WINDOW_TOO_LONG)
    return because(Code.BEYOND_HORIZON)


def attributes_reason(attributes: Mapping[str, str]) -> Reason | None:
    """Say why ``attributes`` cannot be copied to outcomes. No control characters: others store them."""
    if len(attributes) > ATTRIBUTES_MAX:
        return because(Code.TOO_MANY_ATTRIBUTES)
    joined = "".join((*attributes, *attributes.values()))
    if not joined.isprintable() and _CONTROL.search(joined):
        return because(Code.ATTRIBUTE_CHARACTERS)
    bytes_count = len(joined) if joined.isascii() else len(joined.encode())
    return because(Code.ATTRIBUTES_TOO_LARGE) if bytes_count > ATTRIBUTES_BYTES_MAX else None
