"""What a deployment was to keep to, as the auditor is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """What one account may do. ``resends_max``: how often a batch in doubt is sent again by itself, 0 if held.

    All tokens of the account together may make ``tokens_max`` times as many requests as one.
    """

    requests_per_minute_per_token: int
    token_mints_per_30_min: int
    resends_max: int = 2
    tokens_max: int = 10

    @property
    def requests_per_minute(self) -> int:
        """Of all tokens of the account together."""
        return self.tokens_max * self.requests_per_minute_per_token


@dataclass(frozen=True, slots=True)
class AuditRules:
    """What the deployment was to keep to.

    ``intents_topic`` is the only source that counts. ``counted``: outcomes of whole batches are told as counts.
    ``limits`` has the accounts that differ from ``default_limits``. ``whole`` says that the range takes in all intents
    there are, so that a record of a ledger that fits none was invented. ``with_texts``: texts will be searched for
    phone numbers.
    """

    intents_topic: str
    default_limits: Limits
    limits: Mapping[str, Limits] = field(default_factory=dict)
    default_account: str | None = None
    counted: bool = False
    with_ledger: bool = False
    with_texts: bool = False
    whole: bool = True
    examples_max: int = 5

    def limits_of(self, account_id: str | None) -> Limits:
        """The limits of an account."""
        return self.limits.get(account_id, self.default_limits) if account_id else self.default_limits
