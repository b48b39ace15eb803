"""How long the intents of low and steady traffic take from their event to their acceptance, on virtual time.

    uv run python -m bench.budget.trickle

Arrivals are a Poisson process of calls that are ten minutes ahead, so that none of them is urgent. One token takes 60
requests a minute; a pool of four has been minted for an earlier load. The first minute is left out.
"""

import json
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bench.budget.api import Api
from bench.budget.latency import percentile
from bench.budget.reading import Reader
from bench.budget.traffic import EPOCH_MS, Traffic
from bench.budget.world import Latency, World
from streams.contracts.outcome import Status
from streams.lane import answers
from streams.lane.actions import Write
from streams.lane.options import LaneOptions, StatusMode
from streams.lane.verdict import Minted

PER_S = (0.2, 0.5, 1.0, 2.0, 5.0, 20.0, 50.0)
SECONDS = 600.0
BEGUN_S = 60.0

# What a batch after each linger needs is there up to these rates, with one token.
BELOW_PER_S = {"none": 1.0, "all": 0.2}


@dataclass(slots=True)
class Waits:
    """Seconds from event to acceptance, once the first minute is over."""

    seconds: "array[float]" = field(default_factory=lambda: array("d"))

    def told(self, write: Write, now_s: float) -> None:
        """A write of the lane."""
        if now_s >= BEGUN_S:
            for group in write.outcomes:
                if group.status is Status.ACCEPTED:
                    self.seconds.extend(now_s - (one.row.recorded_at - EPOCH_MS) / 1000 for one in group.held)


def at_rate(per_s: float, statuses: StatusMode, tokens: int) -> dict[str, Any]:
    """Run one rate of intents."""
    waits, api = Waits(), Api()
    traffic = Traffic(lambda _: per_s, ahead_s=(600.0, 1200.0), valid_s=3600.0)
    world = World(LaneOptions("account", tokens_max=tokens, statuses=statuses), api, Latency())
    world.wrote.append(lambda write: waits.told(write, world.now_s))
    Reader(world, traffic)
    if tokens > 1:
        for _ in range(tokens):
            world.lane.tokens.start_mint(world.now)
            answers.minted(world.lane, Minted(api.grant(0.0)), EPOCH_MS, world.now)
    world.run(SECONDS)
    posts = sum(at_s >= BEGUN_S for at_s, _ in world.posts)
    return {
        "per_s": per_s,
        "statuses": statuses,
        "tokens": tokens,
        "p50_s": round(percentile(waits.seconds, 0.5), 2),
        "p99_s": round(percentile(waits.seconds, 0.99), 2),
        "max_s": round(max(waits.seconds), 2),
        "posts_per_minute": round(posts / (SECONDS - BEGUN_S) * 60, 1),
        "status_429": api.refused["429"],
    }


def _worst(rows: Iterable[dict[str, Any]]) -> dict[str, float]:
    kept = list(rows)
    return {name: max(row[name] for row in kept) for name in ("p50_s", "p99_s", "max_s")}


def measure() -> dict[str, Any]:
    """All rates, with one token and with four, without status checks and with them; and the worst of some of them."""
    modes: tuple[StatusMode, ...] = ("none", "all")
    rows = [at_rate(per_s, mode, tokens) for mode in modes for tokens in (1, 4) for per_s in PER_S]
    one = [row for row in rows if row["tokens"] == 1]
    return {
        "rates": rows,
        "below_the_limit": _worst(row for row in one if row["per_s"] <= BELOW_PER_S[row["statuses"]]),
        "above_it": _worst(row for row in one if row["statuses"] == "none"),
        "four_tokens": _worst(row for row in rows if row["tokens"] > 1 and row["statuses"] == "none"),
        "status_429": sum(row["status_429"] for row in rows),
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
