"""What it costs to find bad records in a batch that is refused as a whole, and when nothing else comes back.

    uv run python -m bench.budget.splitting

One account with one batch of 500, on virtual time, with the limits of one token. The API refuses every batch that holds
a bad record and names neither record nor field, which is the least it can say.
"""

import json
import random
import sys
from collections.abc import Collection
from typing import Any

from bench.budget.api import RECORDS, Api
from bench.budget.traffic import EPOCH_MS
from bench.budget.world import ACCOUNT, Latency, World
from streams.contracts.outcome import Status
from streams.contracts.parcel import Parcel, Row
from streams.lane import parts
from streams.lane.actions import Post, Write
from streams.lane.breaker import BreakerState
from streams.lane.options import LaneOptions
from streams.lane.verdict import PostVerdict, Split

BAD_COUNTS = (2, 5, 10, 20, 25, 50, 250)
PROMISED_BAD = 20
HOURS_24_MS = 24 * 3_600_000
# An answer takes 0.2 s, and everything else no time.
LATENCY = Latency(commit_s=(0.0, 0.0), back_s=(0.2, 0.2))


class FussyApi(Api):
    """Refuses what holds a bad record."""

    def __init__(self, bad: Collection[int]) -> None:
        super().__init__()
        self._bad = set(bad)

    def post(self, action: Post, now_s: float) -> PostVerdict:
        """Handed a batch."""
        verdict = super().post(action, now_s)
        spoilt = any(held.row.source_offset in self._bad for held in action.held)
        return Split("http_400", None, "refused") if spoilt else verdict


class Case:
    """One batch of 500 with bad records in it: what became of each intent, and when."""

    def __init__(self, bad: Collection[int], seed: int, tokens_max: int = 1) -> None:
        self.ends: dict[int, Status] = {}
        self.ended_s = 0.0
        self.opened_after: int | None = None
        options = LaneOptions(ACCOUNT, statuses="none", tokens_max=tokens_max)
        self.world = World(options, FussyApi(bad), LATENCY, seed=seed)
        self.world.wrote.append(self._wrote)
        starts_at = EPOCH_MS + 60_000
        rows = [
            Row(number, f"intent-{number}", "911234567", f"92{number:010}", "label", starts_at, starts_at + HOURS_24_MS)
            for number in range(RECORDS)
        ]
        self.world.lane.offer(0, Parcel(ACCOUNT, "intents", 0, rows), self.world.now)

    @property
    def requests(self) -> int:
        """POSTs that left."""
        return len(self.world.posts)

    def count(self, status: Status) -> int:
        """How many intents came to this, first."""
        return sum(end is status for end in self.ends.values())

    def _wrote(self, write: Write) -> None:
        if self.opened_after is None and self.world.lane.breaker.state(self.world.now_s) is BreakerState.OPEN:
            self.opened_after = self.requests
        for outcomes in write.outcomes:
            self.ended_s = self.world.now_s
            for one in outcomes.held:
                self.ends.setdefault(one.row.source_offset, outcomes.status)


def _bad_ones(count: int, seed: int, tokens_max: int) -> dict[str, Any]:
    bad = random.Random(seed).sample(range(RECORDS), count)
    case = Case(bad, seed, tokens_max)
    case.world.run(6 * 3600.0)
    rejected = {number for number, status in case.ends.items() if status is Status.REJECTED}
    return {
        "bad": count,
        "tokens_max": tokens_max,
        "rejected": len(rejected),
        "wrongly_rejected": len(rejected - set(bad)),
        "accepted": case.count(Status.ACCEPTED),
        "extra_requests": case.requests - 1,
        "minutes": round(case.ended_s / 60, 1),
    }


def measure(seed: int = 1) -> dict[str, Any]:
    """One bad record of 500, anywhere; several; and 500 of 500.

    ``one_of_500`` has the worst of many positions, ``several`` a row for each number of bad ones, ``all_of_500`` after
    how many requests the account stopped submitting, and what an hour of it brought.
    """
    positions = random.Random(seed).sample(range(RECORDS), 40)
    cases = [Case([bad], seed) for bad in positions]
    everything = Case(range(RECORDS), seed)
    for case in (*cases, everything):
        case.world.run(3600.0)
    several = [_bad_ones(count, seed, tokens) for tokens in (1, 10) for count in BAD_COUNTS]
    return {
        "one_of_500": {
            "extra_requests_max": max(case.requests - 1 for case in cases),
            "rejected": max(case.count(Status.REJECTED) for case in cases),
            "accepted": min(case.count(Status.ACCEPTED) for case in cases),
            "seconds_max": round(max(case.ended_s for case in cases), 1),
        },
        "several": several,
        "twenty_of_500_minutes": max(row["minutes"] for row in several if row["bad"] == PROMISED_BAD),
        "requests_at_once_max": parts.REQUESTS_MAX,
        "all_of_500": {
            "requests_until_tripped": everything.opened_after,
            "requests_in_an_hour": everything.requests,
            "rejected": everything.count(Status.REJECTED),
        },
    }


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(measure())}\n")
