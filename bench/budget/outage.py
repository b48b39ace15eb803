"""The API is away for ten minutes, while intents come in as fast as one token could take them. On virtual time.

    uv run python -m bench.budget.outage

What is looked at: that memory is bounded, that nobody spins, that the API is not run over while it is away, that it is
used to the last request as soon as it is back, and that every intent is accounted for. Calls are an hour ahead, so that
nothing expires and the whole backlog has to be sent.

Memory is what the process has resident (``/proc/self/statm``), after a collection of garbage, at the moment at which
the lane is as full as it may be, and again when the outage ends.
"""

import gc
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.budget.api import REQUESTS, Api
from bench.budget.reading import Reader
from bench.budget.traffic import Traffic
from bench.budget.world import Latency, World
from streams.contracts.outcome import Status
from streams.lane.actions import Write
from streams.lane.options import LaneOptions

RECORDS_PER_S = 500.0

CALM_S = 120.0
OUTAGE_S = 600.0
FULL_S = CALM_S + 240.0
BACK_S = CALM_S + OUTAGE_S
# The breaker or a backoff may sleep for so long at most when the API comes back.
NOTICED_S = 65.0
MEASURED_S = 300.0


def resident_bytes() -> int:
    """What the process has in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure() -> dict[str, Any]:
    """Calm, outage, catching up."""
    began_s = time.process_time()
    told: Counter[Status] = Counter()

    def count(write: Write) -> None:
        for group in write.outcomes:
            if group.status is not Status.UNKNOWN or group.reason is None or group.reason.code != "not_checked":
                told[group.status] += len(group.held)

    api = Api(down=(CALM_S, BACK_S))
    traffic = Traffic(lambda _: RECORDS_PER_S, ahead_s=(3600.0, 3660.0), valid_s=7200.0)
    options = LaneOptions("account", requests_per_minute_per_token=REQUESTS, tokens_max=1, statuses="none")
    world = World(options, api, Latency())
    world.wrote.append(count)
    reader = Reader(world, traffic)
    world.run(FULL_S)
    full_bytes, full_waiting = resident_bytes(), len(world.lane.window)
    world.run(BACK_S)
    end_bytes, end_waiting = resident_bytes(), len(world.lane.window)
    world.run(BACK_S + NOTICED_S)
    first_s = next(at_s for at_s, _ in world.posts if at_s >= BACK_S)
    requests, posts = api.granted, len(world.posts)
    world.run(BACK_S + NOTICED_S + MEASURED_S)
    caught_up = world.posts[posts:]
    waiting = len(world.lane.window) + sum(b.unsettled_count for b in world.lane.batches.values() if not b.passed_on)
    return {
        "offered": reader.offered,
        "accepted": told[Status.ACCEPTED],
        "other_outcomes": told.total() - told[Status.ACCEPTED],
        "waiting_in_the_lane": waiting,
        "to_be_read_again": reader.missed(),
        "unaccounted": reader.offered - told.total() - waiting - reader.missed(),
        "lane_at_the_end_of_the_outage": end_waiting,
        "lane_when_full": full_waiting,
        "memory_growth_while_full_mb": round((end_bytes - full_bytes) / 1e6, 1),
        "requests_while_away": api.tried_while_down,
        "steps_per_s_max": max(world.steps.values()),
        "steps_per_s_while_away": round(
            sum(steps for second, steps in world.steps.items() if CALM_S <= second < BACK_S) / OUTAGE_S, 1
        ),
        "back_after_s": round(first_s - BACK_S, 1),
        "catching_up_share_of_limit": round((api.granted - requests) / (REQUESTS * MEASURED_S / 60), 4),
        "catching_up_records_per_post": round(sum(records for _, records in caught_up) / max(1, len(caught_up)), 1),
        "status_429": api.refused["429"],
        "cpu_s": round(time.process_time() - began_s, 1),
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
