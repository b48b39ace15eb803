"""What a deployment was to keep to, as the auditor is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """What one account may do."""

    requests_per_minute_per_token: int
    token_mints_per_30_min: int


@dataclass(frozen=True, slots=True)
class AuditRules:
    """What the deployment was to keep to.

    ``intents_topic`` is the only source that counts. ``counted``: outcomes of whole batches are told as counts.
    ``limits`` has the accounts that differ from ``default_limits``. ``whole`` says that the range takes in all intents
    there are, so that a record of a ledger that fits none was invented.
    """

    intents_topic: str
    default_limits: Limits
    limits: Mapping[str, Limits] = field(default_factory=dict)
    default_account: str | None = None
    counted: bool = False
    with_ledger: bool = False
    whole: bool = True
    examples_max: int = 5
