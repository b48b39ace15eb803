"""The text of made-up intents: labels, reasons, priorities and attributes that a company could really send.

An account belongs to one trade, and its intents are a few dozen texts of that trade with holes for what changes.
"""

from collections.abc import Iterator
from random import Random
from typing import Final
from uuid import UUID

import orjson

from streams.sandbox.accounts import SyntheticAccount

VARIANTS: Final = 48
"""Texts per account: enough that a screen of outcomes does not repeat itself."""

_TRADES: Final = (
    ("Fresh Basket", ("Your grocery order is at the door", "Delivery slot needs your confirmation")),
    ("Metro Bank Cards", ("Confirm a payment on your card", "Your new credit card is on its way")),
    ("Swift Couriers", ("Parcel arriving within the hour", "Address check for your parcel")),
    ("City Hospital", ("Reminder of your visit tomorrow", "Your test results are ready")),
    ("Lakeside Motors", ("Your car is ready for pick up", "Service booking for your car")),
    ("Horizon Travel", ("Change to your flight booking", "Your visa papers have arrived")),
    ("Sunrise Insurance", ("Your claim has been approved", "Policy renewal is due this week")),
    ("Learnwell Academy", ("Demo class starts in ten minutes", "Your course counsellor is calling")),
)
_PRIORITIES: Final = ("high",) * 2 + ("normal",) * 7 + ("low",) * 1
_CAMPAIGNS: Final = ("standard", "loyalty", "first-contact", "follow-up")

# What follows is filled in per intent: prefix, number, receiver, starts_at, ends_at.
_HEAD: Final = b'{"intent_id":"%s-%09d","receiver":"%d","starts_at":%d,"ends_at":%d,'


def variants_of(account: SyntheticAccount, random: Random) -> Iterator[bytes]:
    """Yield the templates of one account, for ``%`` with (prefix, number, receiver, ``starts_at``, ``ends_at``)."""
    name, reasons = _TRADES[UUID(account.id).int % len(_TRADES)]
    for _ in range(VARIANTS):
        # label_name and priority are not the last fields: the dialer spoils fields up to the comma behind them.
        fields: dict[str, object] = {
            "account_id": account.id,
            "caller": account.caller,
            "label_id": account.label_id,
            "label_name": name,
        }
        if random.random() < 0.8:  # noqa: PLR2004 - a share
            fields["call_reason"] = random.choice(reasons)
        if random.random() < 0.3:  # noqa: PLR2004 - a share
            fields["attributes"] = {"campaign": random.choice(_CAMPAIGNS), "agent": f"a{random.randrange(200)}"}
        fields["priority"] = random.choice(_PRIORITIES)
        yield _HEAD + orjson.dumps(fields)[1:].replace(b"%", b"%%")
