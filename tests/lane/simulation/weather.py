"""What goes wrong in one history, drawn from its seed.

Each history has only some of the faults (swarm testing): rare combinations come up more often than if every history
had a little of everything.
"""

import random
from dataclasses import dataclass, field, replace
from typing import Final

from streams.lane.options import LaneOptions

POST_FAULTS: Final = (
    "untracked", "cut", "lost", "late", "throttled", "unreachable", "unauthorised", "broken", "bad_record", "forbidden",
)  # fmt: skip
CHECK_FAULTS: Final = ("not_visible", "throttled", "unauthorised", "forbidden", "broken", "incomplete")
MINT_FAULTS: Final = ("throttled", "forbidden", "cut")


@dataclass(frozen=True, slots=True)
class Weather:
    """Shares of faults among requests, spans of seconds, and what happens to workers.

    ``kill_share`` is the chance of a worker to die after any event; ``hand_over_s`` the mean time between orderly
    hand-overs.
    """

    posts: dict[str, float] = field(default_factory=dict)
    checks: dict[str, float] = field(default_factory=dict)
    mints: dict[str, float] = field(default_factory=dict)
    latency_s: tuple[float, float] = (0.02, 0.5)
    commit_s: tuple[float, float] = (0.005, 0.1)
    absence_s: tuple[float, float] = (0.1, 1.0)
    kill_share: float = 0.0
    hand_over_s: float | None = None
    masked: bool = False

    def healed(self) -> "Weather":
        """No more faults; the API still masks what it masked."""
        return replace(Weather(), masked=self.masked)


def draw_weather(rng: random.Random) -> Weather:
    """The weather of one history."""
    return Weather(
        posts=_some(rng, POST_FAULTS),
        checks=_some(rng, CHECK_FAULTS),
        mints=_some(rng, MINT_FAULTS),
        latency_s=rng.choice([(0.02, 0.5), (0.02, 5.0), (0.5, 14.0)]),
        commit_s=rng.choice([(0.005, 0.1), (0.005, 0.1), (0.05, 2.0), (0.1, 8.0)]),
        absence_s=rng.choice([(0.1, 1.0), (0.1, 60.0)]),
        kill_share=rng.choice([0.0, 0.002, 0.01, 0.04]),
        hand_over_s=rng.choice([None, 20.0, 120.0]),
        masked=rng.random() < 0.5,
    )


def _some(rng: random.Random, faults: tuple[str, ...]) -> dict[str, float]:
    if rng.random() < 0.15:
        return {}
    chosen = rng.sample(faults, rng.randint(1, min(4, len(faults))))
    return {fault: rng.choice([0.2, 0.5, 0.9]) / len(chosen) for fault in chosen}


def pick(rng: random.Random, faults: dict[str, float]) -> str:
    """The fault of one request, or ``fair``."""
    roll = rng.random()
    for fault, share in faults.items():
        roll -= share
        if roll < 0:
            return fault
    return "fair"


def draw_options(rng: random.Random) -> LaneOptions:
    """The options that all accounts of one history share: small, so that every limit is met."""
    return LaneOptions(
        "",
        records_max=rng.choice([1, 3, 8]),
        requests_per_minute_per_token=rng.choice([3, 12, 60]),
        intents_max=rng.choice([8, 1000]),
        in_flight_max_per_token=rng.choice([1, 2, 3]),
        open_batches_max=rng.choice([1, 3, 1200]),
        ambiguous_resends_max=rng.choice([0, 1, 2]),
        statuses=rng.choice(["all", "all", "best_effort", "none"]),
        status_deadline_s=rng.choice([60.0, 1800.0]),
    )
