"""A plan as it is told: figures, and what follows from them for whoever may act. Pure."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from streams.contracts.parcel import Priority
from streams.plan.cast import Cast, Part
from streams.plan.tally import Fates

PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")


@dataclass(frozen=True, slots=True)
class Invalid:
    """Messages that are invalid for one reason: how many, what a dead letter would say, and where the first one is."""

    count: int
    message: str
    first: str


@dataclass(frozen=True, slots=True)
class PriorityPlan:
    """The valid intents of one priority; seconds are from their arrival until the API would have them.

    ``late`` of the ``sent`` ones would leave after ``starts_at`` and what ``priority_offsets_s`` allows.
    """

    sent: int
    late: int
    expired: int
    p50_s: float | None
    p99_s: float | None
    most_s: float | None

    @classmethod
    def of(cls, fates: Fates) -> Self:
        """From the counts."""
        waits = fates.waits
        most_s = round(waits.most_s, 3) if fates.sent else None
        return cls(fates.sent, fates.late, fates.expired, _quantile(fates, 0.5), _quantile(fates, 0.99), most_s)


def _quantile(fates: Fates, share: float) -> float | None:
    found = fates.waits.quantile(share)
    return None if found is None else round(found, 3)


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """One account. ``requests`` by kind.

    ``busiest_minute`` is the most requests of any minute, over ``tokens`` tokens; ``tokens_needed`` would let the
    intents of the busiest minute leave within a minute. The last intent is sent ``drained_s`` after the first arrival
    of all, ``behind_s`` after its last arrival; ``known_s`` is when the last final status is known.
    """

    account_id: str
    intents: int
    sent: int
    late: int
    expired: int
    batches: int
    full_batches: int
    requests: dict[str, int]
    busiest_minute: int
    tokens: int
    tokens_needed: int
    tokens_max: int
    drained_s: float
    behind_s: float
    known_s: float

    @classmethod
    def of(cls, account_id: str, part: Part) -> Self:
        """From the rehearsal of its lane."""
        tally, fates = part.tally, part.tally.fates.values()
        return cls(
            account_id,
            part.intents,
            sum(fate.sent for fate in fates),
            sum(fate.late for fate in fates),
            sum(fate.expired for fate in fates),
            tally.batches,
            tally.full,
            dict(sorted(tally.requests.items())),
            tally.busiest,
            part.tokens_used(),
            part.tokens_needed(),
            part.rehearsal.options.tokens_max,
            round(tally.last_sent_s, 3),
            round(max(0.0, tally.last_sent_s - part.last_arrival_s), 3),
            round(tally.last_known_s, 3),
        )


@dataclass(frozen=True, slots=True)
class LingerPlan:
    """What one linger would cost over the intents that lingers are compared by, and what it would bring."""

    linger_ms: int
    batches: int
    requests: int
    records_per_batch: float
    p50_s: float | None
    p99_s: float | None

    @classmethod
    def of(cls, cast: Cast) -> Self:
        """From the rehearsals under it."""
        everybody = Fates()
        for fates in cast.fates().values():
            everybody.include(fates)
        batches = cast.batches()
        per_batch = round(everybody.sent / batches, 1) if batches else 0.0
        p50_s, p99_s = _quantile(everybody, 0.5), _quantile(everybody, 0.99)
        return cls(cast.linger_ms or 0, batches, cast.requests().total(), per_batch, p50_s, p99_s)


@dataclass(frozen=True, slots=True)
class Plan:
    """What would happen. ``first_ms`` and ``last_ms`` are the first and the last arrival (epoch milliseconds).

    ``notes`` say what there is to know of where the intents came from.
    """

    read: int = 0
    invalid: dict[str, Invalid] = field(default_factory=dict)
    expired_on_arrival: int = 0
    first_ms: int = 0
    last_ms: int = 0
    accounts: list[AccountPlan] = field(default_factory=list)
    priorities: dict[Priority, PriorityPlan] = field(default_factory=dict)
    lingers: list[LingerPlan] = field(default_factory=list)
    compared: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def invalid_count(self) -> int:
        """How many are invalid."""
        return sum(found.count for found in self.invalid.values())

    @property
    def sent(self) -> int:
        """How many would be sent."""
        return sum(account.sent for account in self.accounts)

    @property
    def expired_waiting(self) -> int:
        """How many would expire while they wait for a request."""
        return sum(account.expired for account in self.accounts)

    @property
    def late(self) -> int:
        """How many would be sent after their deadline."""
        return sum(account.late for account in self.accounts)

    @property
    def all_sent(self) -> bool:
        """Whether every one of them would be sent."""
        return self.sent == self.read

    def total(self, name: str) -> int:
        """The sum of a figure over the accounts."""
        return sum(getattr(account, name) for account in self.accounts)

    def requests(self) -> dict[str, int]:
        """All requests by kind."""
        kinds = sorted({kind for account in self.accounts for kind in account.requests})
        return {kind: sum(account.requests.get(kind, 0) for account in self.accounts) for kind in kinds}

    def remarks(self) -> Iterator[str]:
        """What somebody should know, or do something about, in words."""
        yield from self.notes
        if self.read and self.expired_on_arrival == self.read:
            yield "all have expired before they arrived: plan as if it were another time with --now"
        for account in self.accounts:
            if account.expired or account.late:
                yield _shortage(account)

    def told(self) -> dict[str, Any]:
        """The plan as one JSON object."""
        return {
            "read": self.read,
            "sent": self.sent,
            "late": self.late,
            "expired": {"on_arrival": self.expired_on_arrival, "waiting": self.expired_waiting},
            "invalid": {code: asdict(found) for code, found in sorted(self.invalid.items())},
            "first_arrival": self.first_ms,
            "last_arrival": self.last_ms,
            "batches": self.total("batches"),
            "requests": self.requests(),
            "drained_s": max((account.drained_s for account in self.accounts), default=0.0),
            "known_s": max((account.known_s for account in self.accounts), default=0.0),
            "priorities": {name: asdict(self.priorities[name]) for name in PRIORITIES if name in self.priorities},
            "accounts": [asdict(account) for account in self.accounts],
            "lingers": [asdict(linger) for linger in self.lingers],
            "lingers_compared_over": self.compared,
            "remarks": list(self.remarks()),
        }


def _shortage(account: AccountPlan) -> str:
    what = " and ".join(
        f"{count:,} {said}"
        for count, said in ((account.expired, "would expire unsent"), (account.late, "would be sent late"))
        if count
    )
    if account.tokens_needed > account.tokens_max:
        why = (
            f"its busiest minute needs {account.tokens_needed} tokens and it may use {account.tokens_max}; "
            "publish earlier or more evenly, or spread the calls over more accounts"
        )
    else:
        why = "publish earlier"
    return f"account {account.account_id}: {what}: {why}"
