"""How long an intent takes from its event to its acceptance, at 1, 50, 90 and 200 % of the limit, on virtual time.

    uv run python -m bench.budget.latency

One token: 60 requests a minute, 500 records each. Arrivals are a Poisson process, 10 % of them high, 70 % normal, 20 %
low. A call starts between at once and a minute after its intent was published, evenly, and may be shown for a minute.
At twice the limit half of the intents cannot be sent: they expire. Statuses are not checked, unless it is said; with
them a batch costs two requests, and the limit is half of this.
"""

import itertools
import json
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.budget.api import RECORDS, REQUESTS, Api
from bench.budget.reading import Reader
from bench.budget.traffic import EPOCH_MS, PRIORITIES, Traffic
from bench.budget.world import Latency, World
from streams.contracts.outcome import Status
from streams.contracts.parcel import Priority
from streams.lane.actions import Write
from streams.lane.options import LaneOptions

RECORDS_PER_S = REQUESTS * RECORDS / 60

# The first minute begins with an unused budget, so it is left out of what is said about pauses and small batches.
STARTED_S = 60.0


class Load(NamedTuple):
    """A share of what one token can take, for so long."""

    share: float
    seconds: float
    statuses: str = "none"


LOADS = {
    "at_1": Load(0.01, 600.0),
    "at_50": Load(0.5, 240.0),
    "at_90": Load(0.9, 240.0),
    "at_200": Load(2.0, 600.0),
    "at_50_with_statuses": Load(0.25, 240.0, "all"),
}


class Seen:
    """What became of the intents, by priority."""

    def __init__(self) -> None:
        self.waits: dict[Priority, array[float]] = {priority: array("d") for priority in PRIORITIES}
        self.expired: Counter[Priority] = Counter()
        self.others: Counter[Status] = Counter()

    def told(self, write: Write, now_s: float) -> None:
        """A write of the lane."""
        for group in write.outcomes:
            for held in group.held:
                row = held.row
                if group.status is Status.ACCEPTED:
                    self.waits[row.priority].append(now_s - (row.recorded_at - EPOCH_MS) / 1000)
                elif group.status is Status.EXPIRED:
                    self.expired[row.priority] += 1
                elif group.reason is None or group.reason.code != "not_checked":
                    self.others[group.status] += 1


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share lies; 0 where there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def at_load(load: Load) -> dict[str, Any]:
    """Run one load."""
    seen, api = Seen(), Api()
    options = LaneOptions(
        "account",
        requests_per_minute_per_token=REQUESTS,
        tokens_max=1,
        statuses="all" if load.statuses == "all" else "none",
    )
    world = World(options, api, Latency())
    world.wrote.append(lambda write: seen.told(write, world.now_s))
    reader = Reader(world, Traffic(lambda _: load.share * RECORDS_PER_S, valid_s=60.0))
    world.run(load.seconds)
    accepted = sum(len(waits) for waits in seen.waits.values())
    in_flight = sum(batch.unsettled_count for batch in world.lane.batches.values() if not batch.passed_on)
    late = [(at_s, records) for at_s, records in world.posts if at_s >= STARTED_S]
    pauses_s = (after_s - before_s for (before_s, _), (after_s, _) in itertools.pairwise(late))
    return {
        "load": load.share,
        "statuses": load.statuses,
        "minutes": load.seconds / 60,
        "offered": reader.offered,
        "unaccounted": reader.offered - accepted - seen.expired.total() - len(world.lane.window) - in_flight,
        "behind": world.lane.cursor.behind,
        "status_429": api.refused["429"],
        "records_per_post": round(sum(records for _, records in late) / max(1, len(late)), 1),
        "small_posts": sum(records < RECORDS for _, records in late),
        "budget_used": round(api.granted / (REQUESTS * load.seconds / 60), 4),
        "longest_pause_s": round(max(pauses_s, default=0.0), 2),
        **{priority: _of(seen, priority, accepted) for priority in PRIORITIES},
    }


def _of(seen: Seen, priority: Priority, accepted: int) -> dict[str, Any]:
    waits = seen.waits[priority]
    return {
        "p50_s": round(percentile(waits, 0.5), 2),
        "p99_s": round(percentile(waits, 0.99), 2),
        "accepted": len(waits),
        "share": round(len(waits) / max(1, accepted), 4),
        "expired": seen.expired[priority],
    }


def measure() -> dict[str, Any]:
    """All loads."""
    began_s = time.process_time()
    figures: dict[str, Any] = {name: at_load(load) for name, load in LOADS.items()}
    return {**figures, "cpu_s": round(time.process_time() - began_s, 1)}


if __name__ == "__main__":
    print(json.dumps(measure()))
