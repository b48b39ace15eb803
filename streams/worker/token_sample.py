"""How the tokens of a worker's accounts stand: gauges, and a log line when an account falls short of them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import get_args

import structlog

from streams.lane.instant import Instant
from streams.lane.tokens import Shortage
from streams.telemetry.metrics import Metrics
from streams.worker.owned import OwnedLane

log = structlog.stdlib.get_logger(__name__)

_REMEDIES: dict[Shortage, str] = {
    "quota": "nothing to do unless it comes back: the mints of the last 30 minutes are used up",
    "refused": "see mint_refuse and mint_retry_later: the API, or the account's key, does not give a token",
    "revoked": "set limits.tokens_max to 1 if it comes back: a new token of this account seems to end the older ones",
}


@dataclass(slots=True)
class TokenSample:
    """The sums over all lanes of a worker."""

    tokens: int = 0
    used: int = 0
    slots: int = 0
    learned: int = 0
    throttled: int = 0
    short: Counter[Shortage] = field(default_factory=Counter)

    def add(self, owned: OwnedLane, now: Instant) -> None:
        """Count one account; say so if it has begun to be short of tokens, or no longer is."""
        tokens = owned.lane.tokens
        usable = tokens.usable(now)
        if usable:
            self.tokens += len(usable)
            self.slots += sum(token.pace.limit for token in usable)
            self.used += sum(token.pace.used(now.boot_s) for token in usable)
            self.learned += tokens.learned_per_minute(now)
            self.throttled += tokens.throttled(now)
        shortage = tokens.shortage(now)
        if shortage is not None:
            self.short[shortage] += 1
        if shortage != owned.shortage:
            _tell(owned, shortage, len(usable))
            owned.shortage = shortage

    def show(self, metrics: Metrics) -> None:
        """Set the gauges."""
        metrics.tokens.set(self.tokens)
        metrics.budget_slots.labels("used").set(self.used)
        metrics.budget_slots.labels("free").set(self.slots - self.used)
        metrics.learned_requests_per_minute.set(self.learned)
        metrics.accounts_throttled.set(self.throttled)
        for cause in get_args(Shortage):
            metrics.accounts_short_of_tokens.labels(cause).set(self.short[cause])


def _tell(owned: OwnedLane, shortage: Shortage | None, tokens: int) -> None:
    event = log.bind(account_id=owned.account_id, tokens=tokens)
    if shortage is None:
        event.info("tokens_suffice", cause=owned.shortage)
    else:
        event.warning("tokens_short", cause=shortage, remedy=_REMEDIES[shortage])
