"""An account that is never short of work, for the ceilings of what its tokens can do.

A batch holds one intent here and stands for a full one of 500: what is measured is requests, and a lane that always has
more always sends full ones.
"""

import itertools
from typing import Any

from bench.budget.api import MINTS, REQUESTS, TOKENS, Api
from bench.budget.world import ACCOUNT, Latency, World
from streams.contracts.parcel import Parcel, Row
from streams.lane.options import LaneOptions

# So many batches wait at least.
WAITING = 40

# Answers come within 200 ms.
LATENCY = Latency(commit_s=(0.005, 0.03), there_s=(0.02, 0.1), back_s=(0.02, 0.1))


def busy_world(api: Api, seed: int = 1, **changes: Any) -> World:
    """A world with the documented limits and more work than they allow; ``changes`` are of the lane's options."""
    chosen: dict[str, Any] = {"tokens_max": TOKENS, "statuses": "none"} | changes
    options = LaneOptions(
        ACCOUNT, records_max=1, requests_per_minute_per_token=REQUESTS, token_mints_per_30_min=MINTS, **chosen
    )
    offsets = itertools.count()

    def supply(world: World) -> None:
        if world.lane.window.sendable < WAITING:
            offset = next(offsets)
            world.lane.offer(offset, _parcel(offset, world.now.wall_ms + 60_000), world.now)

    return World(options, api, LATENCY, supply, seed)


def _parcel(offset: int, starts_at: int) -> Parcel:
    ends_at = starts_at + 24 * 3_600_000
    rows = [
        Row(number, f"intent-{number}", "911234567", f"92{number:010}", "label", starts_at, ends_at)
        for number in range(offset * WAITING, (offset + 1) * WAITING)
    ]
    return Parcel(ACCOUNT, "intents", 0, rows)
