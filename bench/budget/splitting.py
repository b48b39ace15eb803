"""What it costs to find bad records in a batch that is refused as a whole, and when nothing else comes back.

    uv run python -m bench.budget.splitting

One account with one batch of 500, on virtual time, with the limits of one token. The API refuses every batch that holds
a bad record and names neither record nor field, which is the least it can say.
"""

import itertools
import json
import random
import sys
from collections.abc import Collection
from typing import Any

from bench.budget.account import ACCOUNT, PlainSealer
from bench.budget.traffic import EPOCH_MS
from streams.contracts.journal import Packer
from streams.contracts.outcome import Status
from streams.contracts.parcel import Parcel, Row
from streams.lane import answers, parts
from streams.lane.actions import Action, Mint, Post, Write
from streams.lane.breaker import BreakerState
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.options import LaneOptions
from streams.lane.state import Tools
from streams.lane.verdict import Accepted, Minted, Split

RECORDS = 500
ANSWER_S = 0.2
FOREVER_S = 48 * 3600.0
HOURS_24_MS = 24 * 3_600_000


class World:
    """One lane and an API that answers after a while; what it was asked and what became of each intent."""

    def __init__(self, bad: Collection[int], seed: int) -> None:
        refs = (f"ref-{number}" for number in itertools.count())
        tools = Tools(random.Random(seed), lambda: next(refs), PlainSealer(), Packer())
        self.lane = Lane(LaneOptions(ACCOUNT, statuses="none"), tools)
        self.now = Instant(EPOCH_MS, 0.0)
        self.posts: list[int] = []
        self.ends: dict[int, Status] = {}
        self.ended_s = 0.0
        self.opened_after: int | None = None
        self._bad = set(bad)
        starts_at = EPOCH_MS + 60_000
        rows = [
            Row(number, f"intent-{number}", "911234567", f"92{number:010}", "label", starts_at, starts_at + HOURS_24_MS)
            for number in range(RECORDS)
        ]
        self.lane.offer(0, Parcel(ACCOUNT, "intents", 0, rows), self.now)

    def run(self, until_s: float) -> None:
        """Live until then, or until nothing is left to do."""
        while self.now.boot_s <= until_s and not (self.posts and self.lane.idle):
            while actions := self.lane.step(self.now):
                for action in actions:
                    self._perform(action)
            self._pass(max(0.001, self.lane.wake_at(self.now) - self.now.boot_s))

    def _perform(self, action: Action) -> None:
        match action:
            case Write():
                self._wrote(action)
            case Post():
                self._posted(action)
            case Mint():
                self._wrote(answers.minted(self.lane, Minted("token"), self.now.wall_ms, self.now))
            case _:
                raise AssertionError("statuses are not checked")

    def _pass(self, seconds: float) -> None:
        ended_s = min(self.now.boot_s + seconds, FOREVER_S)
        self.now = Instant(self.now.wall_of(ended_s), ended_s)

    def _posted(self, post: Post) -> None:
        sent_ms = self.now.wall_ms
        self._pass(ANSWER_S)
        numbers = {held.row.source_offset for held in post.held}
        self.posts.append(len(numbers))
        refused = bool(numbers & self._bad)
        verdict = Split("http_400", None, "refused") if refused else Accepted(f"batch-{len(self.posts)}")
        self._wrote(answers.posted(self.lane, post.batch_ref, verdict, sent_ms, self.now))
        if self.opened_after is None and self.lane.breaker.state(self.now.boot_s) is BreakerState.OPEN:
            self.opened_after = len(self.posts)

    def _wrote(self, write: Write) -> None:
        for outcomes in write.outcomes:
            self.ended_s = self.now.boot_s
            for one in outcomes.held:
                self.ends.setdefault(one.row.source_offset, outcomes.status)
        if write.serial:
            self.lane.durable(write.serial)


def _bad_ones(count: int, seed: int) -> dict[str, Any]:
    bad = random.Random(seed).sample(range(RECORDS), count)
    world = World(bad, seed)
    world.run(6 * 3600.0)
    rejected = {number for number, status in world.ends.items() if status is Status.REJECTED}
    return {
        "bad": count,
        "rejected": len(rejected),
        "wrongly_rejected": len(rejected - set(bad)),
        "accepted": sum(status is Status.ACCEPTED for status in world.ends.values()),
        "extra_requests": len(world.posts) - 1,
        "minutes": round(world.ended_s / 60, 1),
    }


def measure(seed: int = 1) -> dict[str, Any]:
    """One bad record of 500, anywhere; several; and 500 of 500.

    ``one_of_500`` has the worst of many positions, ``several`` a row for each number of bad ones, ``all_of_500`` after
    how many requests the account stopped submitting, and what an hour of it brought.
    """
    positions = random.Random(seed).sample(range(RECORDS), 40)
    worlds = [World([bad], seed) for bad in positions]
    for world in worlds:
        world.run(3600.0)
    everything = World(range(RECORDS), seed)
    everything.run(3600.0)
    return {
        "one_of_500": {
            "extra_requests_max": max(len(world.posts) - 1 for world in worlds),
            "rejected": max(sum(end is Status.REJECTED for end in world.ends.values()) for world in worlds),
            "accepted": min(sum(end is Status.ACCEPTED for end in world.ends.values()) for world in worlds),
            "seconds_max": round(max(world.ended_s for world in worlds), 1),
        },
        "several": [_bad_ones(count, seed) for count in (2, 5, 10, 25)],
        "requests_at_once_max": parts.REQUESTS_MAX,
        "all_of_500": {
            "requests_until_tripped": everything.opened_after,
            "requests_in_an_hour": len(everything.posts),
            "rejected": sum(end is Status.REJECTED for end in everything.ends.values()),
        },
    }


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(measure())}\n")
