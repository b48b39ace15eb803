"""What accounts cost each other: ten thousand with one intent each, and twenty of which one is throttled.

    uv run python -m bench.budget.fairness

The real lanes under the real runner, on the clock of :mod:`bench.budget.crowd`: it counts CPU and jumps over waiting.
"""

import asyncio
import gc
import json
import time
import uuid
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import structlog

from bench.budget.crowd import Crowd, play, row
from streams.lane.actions import Post
from streams.worker import observe
from streams.worker.clock import boot_s, read_clock

ACCOUNTS = 10_000
LINGER_S = 0.25

# Twenty accounts, each with a twentieth of what one token can take; the throttled one with all of it.
NEIGHBOURS = 20
CHUNK_S = 0.1
ROWS_A_CHUNK = 2
ROWS_OF_THE_THROTTLED = 50
CALM_S = 60.0
THROTTLED_S = 120.0


class _Silent(structlog.BoundLoggerBase):
    """Ten thousand lines would be a good part of what is measured."""

    def info(self, *_: Any, **__: Any) -> None:
        """Say nothing."""

    debug = warning = info


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share lies; 0 where there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _accounts(count: int) -> list[str]:
    return [str(uuid.UUID(int=number)) for number in range(1, count + 1)]


async def _one_each() -> dict[str, Any]:
    """Every account has one intent; then, with a token in hand, each has another."""
    left: list[float] = []

    def posted(_account_id: str, action: Post) -> None:
        came_ms = action.held[0].row.recorded_at
        left.append((read_clock().wall_ms - came_ms) / 1000)

    crowd, accounts = Crowd(posted), _accounts(ACCOUNTS)
    figures: dict[str, Any] = {"accounts": ACCOUNTS}
    for turn in ("first", "second"):
        left.clear()
        cpu_s = time.process_time()
        # Chunks of a thousand messages, as the transport hands them over.
        for begun in range(0, ACCOUNTS, 1000):
            crowd.publish(*((account, [row(begun + n)]) for n, account in enumerate(accounts[begun : begun + 1000])))
            await asyncio.sleep(0)
        await asyncio.sleep(30.0)
        assert len(left) == ACCOUNTS, f"{len(left)} have left"
        figures[turn] = {
            "p50_s": round(percentile(left, 0.5), 3),
            "p99_s": round(percentile(left, 0.99), 3),
            "cpu_us_per_lane": round((time.process_time() - cpu_s) / ACCOUNTS * 1e6),
        }
        await asyncio.sleep(120.0)
    cpu_s = time.process_time()
    await asyncio.sleep(3600.0)
    figures["idle_hour_cpu_ms"] = round((time.process_time() - cpu_s) * 1000, 1)
    figures["tasks_while_idle"] = len(asyncio.all_tasks())
    return figures


async def _neighbours() -> dict[str, Any]:
    """The p99 from event to acceptance of nineteen accounts, before and while the twentieth is throttled."""
    accounts = _accounts(NEIGHBOURS)
    throttled = accounts[0]
    waits: dict[bool, list[float]] = {False: [], True: []}

    def posted(account_id: str, action: Post) -> None:
        if account_id != throttled:
            now_ms = read_clock().wall_ms
            waits[throttled in crowd.api.throttled].extend((now_ms - one.row.recorded_at) / 1000 for one in action.held)

    crowd = Crowd(posted, tokens_max=1)
    number = 0
    began_s = boot_s()
    while (spent_s := boot_s() - began_s) < CALM_S + THROTTLED_S:
        if spent_s >= CALM_S:
            crowd.api.throttled.add(throttled)
        parcels = []
        for account in accounts:
            rows = [row(number + n) for n in range(ROWS_OF_THE_THROTTLED if account == throttled else ROWS_A_CHUNK)]
            number += len(rows)
            parcels.append((account, rows))
        crowd.publish(*parcels)
        await asyncio.sleep(CHUNK_S)
    before_s, during_s = percentile(waits[False], 0.99), percentile(waits[True], 0.99)
    return {
        "accounts": NEIGHBOURS,
        "refused_429": crowd.api.refused,
        "waiting_of_the_throttled": len(crowd.partition.lanes[throttled].lane.window),
        "others_p99_before_s": round(before_s, 3),
        "others_p99_during_s": round(during_s, 3),
        "ratio": round(during_s / before_s, 3),
    }


def measure() -> dict[str, Any]:
    """Both."""
    silent = structlog.wrap_logger(None, wrapper_class=_Silent)
    with patch.object(observe, "log", silent):
        one_each = play(_one_each)
        gc.collect()
        return {"one_each": one_each, "neighbours": play(_neighbours)}


if __name__ == "__main__":
    print(json.dumps(measure()))
