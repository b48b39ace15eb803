"""Call intents: what a dialer publishes before it rings somebody.

Decided here: the shape of the message and nothing else. The type is the one source: the JSON Schema is generated from
it, and intake reads with it. Every constraint is declared, none is a Python function, because this runs once per
message of the whole traffic. What must stay true:

- the shape is never stricter than the field rules of :mod:`streams.intake` need it to be, and those may only refuse
  more than the shape does, never less;
- an intent that was valid under a released version of this shape stays valid.

Limits of the API (digits with country code, label name 3..40, call reason 10..100, epoch milliseconds) are those of
Truecaller's page "Create Dynamic Call Records" for the batch endpoint.
"""

from typing import Annotated, Final, Literal, Required

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

INTENT_ID_PATTERN: Final = r"^[A-Za-z0-9._:-]{1,64}$"
"""Safe as a Kafka key, in a log line, a file name and a URL; a UUID, a ULID or ``crm:123-4`` fits."""

UUID_PATTERN: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
"""One spelling per account: two spellings would be two budgets, and this one is safe in the path of a URL."""

# E.164: at most 15 digits, none of them a leading 0. `[0-9]`, since `\d` takes the digits of every script.
PHONE_PATTERN: Final = r"^\+?[1-9][0-9]{7,14}$"

LABEL_NAME_MIN: Final = 3
LABEL_NAME_MAX: Final = 40
CALL_REASON_MIN: Final = 10
CALL_REASON_MAX: Final = 100
RAW_TEXT_FACTOR: Final = 5
"""How much longer than its limit a text may be as sent: it is trimmed and composed (NFC) before it is counted."""

ATTRIBUTES_MAX: Final = 16
EPOCH_MS_MAX: Final = 2**63 - 1

Priority = Literal["high", "normal", "low"]

_ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"
_LABEL = "6dab73bb-28d8-4030-9722-8663ff9589f3"

_IntentId = Annotated[
    str,
    Field(
        pattern=INTENT_ID_PATTERN,
        description="The dialer's own id of this intent; it comes back in every outcome. It is not used to drop "
        "duplicates. Never put a phone number in it.",
        examples=["crm:2f81-000123"],
    ),
]
_AccountId = Annotated[
    Annotated[str, Field(pattern=UUID_PATTERN)] | None,
    Field(
        description="The Truecaller client account that the call is made for: a UUID in lower case with dashes. May "
        "be left out only where the deployment has a default account.",
        examples=[_ACCOUNT],
    ),
]
_LabelId = Annotated[
    str,
    Field(
        pattern=UUID_PATTERN,
        description="The account's dynamic label to show: a UUID in lower case with dashes.",
        examples=[_LABEL],
    ),
]
_LabelName = Annotated[
    Annotated[str, Field(min_length=LABEL_NAME_MIN, max_length=LABEL_NAME_MAX * RAW_TEXT_FACTOR)] | None,
    Field(
        description=f"The name to show, {LABEL_NAME_MIN} to {LABEL_NAME_MAX} characters once trimmed and composed "
        "(NFC). Left out, the label's own name is shown.",
        examples=["Acme Deliveries"],
    ),
]
_CallReason = Annotated[
    Annotated[str, Field(min_length=CALL_REASON_MIN, max_length=CALL_REASON_MAX * RAW_TEXT_FACTOR)] | None,
    Field(
        description=f"Why the caller rings, {CALL_REASON_MIN} to {CALL_REASON_MAX} characters once trimmed and "
        "composed (NFC).",
        examples=["Your parcel arrives today"],
    ),
]
_Priority = Annotated[
    Priority | None,
    Field(description="Who goes first when the budget is short; `normal` if left out.", examples=["normal"]),
]
_Attributes = Annotated[
    Annotated[dict[str, str], Field(max_length=ATTRIBUTES_MAX)] | None,
    Field(
        description=f"Copied to every outcome of the intent: at most {ATTRIBUTES_MAX} entries and 512 bytes of UTF-8 "
        "in all. Never put personal data in it.",
        examples=[{"campaign": "summer"}],
    ),
]


def _phone(description: str, example: str) -> object:
    return Field(
        pattern=PHONE_PATTERN,
        description=f"{description}: 8 to 15 digits that begin with the country code. One leading `+` is accepted "
        "and dropped; spaces, dashes and anything else are not.",
        examples=[example],
    )


def _instant(description: str, example: int) -> object:
    return Field(ge=0, le=EPOCH_MS_MAX, description=f"{description}, in epoch milliseconds (UTC).", examples=[example])


@with_config(ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True))
class CallIntent(TypedDict, total=False):
    """This caller is about to ring that receiver: show this label and this reason.

    A null in an optional field means the same as leaving it out.
    """

    intent_id: Required[_IntentId]
    account_id: _AccountId
    caller: Required[Annotated[str, _phone("The number that rings", "919876543210")]]
    receiver: Required[Annotated[str, _phone("The number that is rung", "919812345678")]]
    label_id: Required[_LabelId]
    label_name: _LabelName
    call_reason: _CallReason
    starts_at: Required[Annotated[int, _instant("From when the label shall be shown", 1752760800000)]]
    ends_at: Required[
        Annotated[
            int, _instant("Until when it shall be shown: not before `starts_at`, at most 24 h after", 1752764400000)
        ]
    ]
    priority: _Priority
    attributes: _Attributes


@with_config(ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True))
class _TolerantIntent(CallIntent, total=False):
    """The same fields, unknown ones dropped: a dialer may be newer than its worker."""


CALL_INTENT: Final[TypeAdapter[CallIntent]] = TypeAdapter(CallIntent)
"""The closed shape, as the schema states it."""

TOLERANT_CALL_INTENT: Final[TypeAdapter[CallIntent]] = TypeAdapter(_TolerantIntent)
"""The shape that intake reads with; it counts unknown fields itself."""

FIELDS: Final[frozenset[str]] = frozenset(CallIntent.__annotations__)
