"""Dialers of one account: what they publish when, from a seed and without keeping any of it."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streams.contracts.parcel import Priority, Row

# Routing hands on what came in about so long as one parcel.
PARCEL_S = 0.05

PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")
WEIGHTS = (10, 70, 20)

EPOCH_MS = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """Poisson arrivals of so many intents a second; 10 % of them are high, 70 % normal, 20 % low.

    A call starts ``ahead_s`` (evenly drawn) after its intent was published, and may be shown for ``valid_s``.
    """

    per_s: Callable[[float], float]
    ahead_s: tuple[float, float] = (0.0, 60.0)
    valid_s: float = 120.0
    seed: int = 1

    def parcel(self, number: int) -> Sequence[Row]:
        """What was published in the ``number``-th span of :data:`PARCEL_S`; always the same."""
        rng = random.Random(self.seed * 1_000_003 + number)
        begun_s = number * PARCEL_S
        rate = self.per_s(begun_s)
        rows: list[Row] = []
        at_s = begun_s + rng.expovariate(rate) if rate else float("inf")
        while at_s < begun_s + PARCEL_S:
            recorded_ms = EPOCH_MS + round(at_s * 1000)
            starts_ms = recorded_ms + round(rng.uniform(*self.ahead_s) * 1000)
            (priority,) = rng.choices(PRIORITIES, WEIGHTS)
            rows.append(
                Row(
                    number * 1000 + len(rows),
                    f"intent-{number}-{len(rows)}",
                    "911234567890",
                    f"91{number:08}{len(rows):03}",
                    "6dab73bb-28d8-4030-9722-8663ff9589f3",
                    starts_ms,
                    starts_ms + round(self.valid_s * 1000),
                    priority,
                    recorded_at=recorded_ms,
                )
            )
            at_s += rng.expovariate(rate)
        return rows
