"""Intents, rules and lanes for plans, short enough to be read in a table."""

from typing import Any

import orjson

from streams.intake.rules import IntakeRules
from streams.lane.options import LaneOptions
from streams.plan.planner import Arrival, Planner, PlanOptions
from streams.plan.report import Plan

ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"
OTHER = "5b1f6e0e-43d1-4b0c-9a51-0d8f0f9a7c11"
LABEL = "6dab73bb-28d8-4030-9722-8663ff9589f3"
START_MS = 1_700_000_000_000
HOUR_MS = 3_600_000

RULES = IntakeRules(
    accounts=frozenset({ACCOUNT, OTHER}),
    default_account=None,
    horizon_ms=48 * HOUR_MS,
    strict_unknown_fields=False,
    reason_characters="warn",
    expiry_margin_ms=30_000,
)


def intent(
    number: int, *, at_ms: int = START_MS, lead_ms: int = 60_000, valid_ms: int = HOUR_MS, **changes: Any
) -> bytes:
    """Intent ``number``: a call ``lead_ms`` after ``at_ms`` that may take ``valid_ms``, each to somebody else."""
    content = {
        "intent_id": f"i-{number}",
        "account_id": ACCOUNT,
        "caller": "918011111111",
        "receiver": str(91_60000_00000 + number),
        "label_id": LABEL,
        "starts_at": at_ms + lead_ms,
        "ends_at": at_ms + lead_ms + valid_ms,
        **changes,
    }
    return orjson.dumps(content)


def planner(lingers_ms: tuple[int, ...] = (), **options: Any) -> Planner:
    return Planner(PlanOptions(RULES, lambda account_id: LaneOptions(account_id, **options), 400_000, lingers_ms))


def planned(arrivals: list[tuple[float, bytes]], lingers_ms: tuple[int, ...] = (), **options: Any) -> Plan:
    """The plan of messages that arrive so many seconds after the start."""
    to_plan = planner(lingers_ms, **options)
    for number, (at_s, value) in enumerate(arrivals, 1):
        to_plan.take(Arrival(START_MS + round(at_s * 1000), f"line {number}", value))
    return to_plan.plan()
