"""The answer: a verdict of three values, the figures it rests on, and each anomaly with examples to look up."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["valid", "invalid", "unknown"]


@dataclass(slots=True)
class Found:
    """One kind of anomaly: how often, and the first few of them. ``examples`` never hold a phone number."""

    count: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, example: dict[str, Any], examples_max: int, count: int = 1) -> None:
        """``count`` more, one of which is ``example``; it is kept while there are few."""
        self.count += count
        if len(self.examples) < examples_max:
            self.examples.append(example)


@dataclass(slots=True)
class AccountFigures:
    """What became of the intents of one account."""

    intents: int = 0
    skipped: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    pending: Counter[str] = field(default_factory=Counter)
    anomalies: Counter[str] = field(default_factory=Counter)

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "intents": self.intents,
            "outcomes": dict(self.outcomes),
            "pending": self.pending.total(),
            "pending_by_place": dict(self.pending),
            "skipped": self.skipped,
            # Members of an enumeration are no keys for the JSON encoder.
            "anomalies": {str(name): count for name, count in self.anomalies.items()},
        }


@dataclass(slots=True)
class Report:
    """All that an audit says.

    ``pending`` are intents by place: source, parcel, carry, batch, moving. ``skipped`` were left unread by an operator.
    """

    intents: int = 0
    skipped: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    pending: Counter[str] = field(default_factory=Counter)
    open_batches: Counter[str] = field(default_factory=Counter)
    dead_letters: int = 0
    possible_duplicates: int = 0
    unresolved: int = 0
    applied: int | None = None
    applied_twice: int | None = None
    anomalies: dict[str, Found] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    accounts: dict[str, AccountFigures] = field(default_factory=dict)
    budget: dict[str, Any] = field(default_factory=dict)
    covered: dict[str, Any] = field(default_factory=dict)
    examples_max: int = 5

    def account(self, account_id: str) -> AccountFigures:
        """The figures of an account."""
        return self.accounts.setdefault(account_id, AccountFigures())

    def anomaly(self, name: str, example: dict[str, Any], account_id: str | None = None, count: int = 1) -> None:
        """Something does not add up, ``count`` times."""
        plain = str(name)  # JSON wants no subclass of text for a key
        self.anomalies.setdefault(plain, Found()).add(example, self.examples_max, count)
        if account_id is not None:
            self.account(account_id).anomalies[plain] += count

    @property
    def verdict(self) -> Verdict:
        """What was found wrong is wrong, whatever could not be read; only what was read whole is valid."""
        if self.anomalies:
            return "invalid"
        return "unknown" if self.unknown else "valid"

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "verdict": self.verdict,
            "intents": self.intents,
            "outcomes": dict(self.outcomes),
            "pending": self.pending.total(),
            "pending_by_place": dict(self.pending),
            "skipped": self.skipped,
            "open_batches": dict(self.open_batches),
            "dead_letters": self.dead_letters,
            "possible_duplicates": self.possible_duplicates,
            "unresolved": self.unresolved,
            "applied": self.applied,
            "applied_twice": self.applied_twice,
            "anomalies": [
                {"name": name, "count": found.count, "examples": found.examples}
                for name, found in sorted(self.anomalies.items())
            ],
            "unknown": self.unknown,
            "accounts": {account: figures.told() for account, figures in sorted(self.accounts.items())},
            "budget": self.budget,
            "covered": self.covered,
        }
