"""The numbers a lane goes by: an account's settings, resolved, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from streams.contracts.parcel import Priority
from streams.lane.cursor import RUNS_MAX
from streams.lane.labels import LabelMode

StatusMode = Literal["all", "best_effort", "none"]


def _priority_offsets_ms() -> Mapping[Priority, int]:
    return {"high": 0, "normal": 30_000, "low": 300_000}


@dataclass(frozen=True, slots=True)
class LaneOptions:
    """Settings of one account's lane. Defaults are those of the settings file.

    ``blocked`` is an account without credentials: nothing can be asked for, what it has ends with time.
    ``cursor_runs_max`` bounds the runs in a journaled cursor, ``carry_records_max`` the intents in a carry record.
    ``expiry_margin_ms`` equals the POST deadline: what would end before its POST must have been answered is not sent.
    """

    account_id: str
    policy: Literal["retry", "hold"] = "retry"
    records_max: int = 500
    linger_ms: int = 250
    priority_offsets_ms: Mapping[Priority, int] = field(default_factory=_priority_offsets_ms)
    tokens_max: int = 10
    requests_per_minute_per_token: int = 60
    token_mints_per_30_min: int = 10
    intents_max: int = 100_000
    in_flight_max_per_token: int = 2
    open_batches_max: int = 1200
    ambiguous_resends_max: int = 2
    expiry_margin_ms: int = 30_000
    statuses: StatusMode = "all"
    labels: LabelMode = "off"
    status_deadline_s: float = 1800.0
    blocked: bool = False
    cursor_runs_max: int = RUNS_MAX
    carry_records_max: int = 100
