"""How many records a minute an account can submit where statuses are checked, and what becomes of the statuses.

    uv run python -m bench.budget.statuses

One account with more work than its tokens can do, on virtual time (see :mod:`bench.budget.plenty`). Each batch needs so
many checks until the API tells its last status. What is measured is the time after the backlog of checks has settled:
accepted batches of 500 a minute, the checks made for each of them, and the share of batches whose statuses were told.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.budget.api import RECORDS, REQUESTS, Api
from bench.budget.plenty import busy_world
from bench.budget.traffic import EPOCH_MS
from bench.budget.world import World
from streams.contracts.journal import TokenEntry, TokensEntry
from streams.contracts.parcel import Row
from streams.lane.actions import Check, Write
from streams.lane.options import StatusMode
from streams.lane.verdict import CheckVerdict, NotVisible, Statuses

# Minutes until it has settled, and minutes that are measured. The open batches reach their bound, or the oldest check
# waits for as long as it ever does; then batches come in waves, as they are asked for in turn, and whole ones count.
SPANS_MIN = {("all", 1): (15, 45), ("all", 10): (4, 12)}
OTHERWISE_MIN = (2, 4)


class SlowApi(Api):
    """Tells the statuses of a batch when it is asked for the last of so many times."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self._checks = checks
        self._asked: Counter[str] = Counter()

    def check(self, action: Check, rows: Sequence[Row], now_s: float) -> CheckVerdict:
        """Asked for the statuses of a batch."""
        verdict = super().check(action, rows, now_s)
        if not isinstance(verdict, Statuses):
            return verdict
        self._asked[action.batch_id] += 1
        if self._asked[action.batch_id] < self._checks:
            return NotVisible("http_404")
        del self._asked[action.batch_id]
        return verdict


def _grant(world: World, tokens: int) -> None:
    """As an owner who has them from another one."""
    entries = [TokenEntry(ordinal, EPOCH_MS + ordinal, world.api.grant(0.0)) for ordinal in range(tokens)]
    world.lane.tokens.restore(TokensEntry(tuple(entries), (), tokens, released=True), world.now)


def _settled(mode: StatusMode, tokens: int, checks: int) -> dict[str, Any]:
    api = SlowApi(checks)
    world = busy_world(api, statuses=mode, tokens_max=tokens)
    _grant(world, tokens)
    ended: list[tuple[float, bool]] = []

    def wrote(write: Write) -> None:
        for outcomes in write.outcomes:
            if outcomes.status.final:
                ended.extend((world.now_s, outcomes.reason is None) for _ in outcomes.held)

    world.wrote.append(wrote)
    settled_min, measured_min = SPANS_MIN.get((mode, tokens), OTHERWISE_MIN)
    settled_s = 60.0 * settled_min
    world.run(settled_s + 60.0 * measured_min)
    posts = sum(at_s >= settled_s for at_s in api.accepted_s)
    made = sum(at_s >= settled_s for at_s in api.checked_s)
    told = [delivered for at_s, delivered in ended if at_s >= settled_s]
    return {
        "mode": mode,
        "tokens": tokens,
        "checks_per_batch": checks if mode == "all" else None,
        "records_per_minute": round(posts * RECORDS / measured_min),
        "checks_per_post": round(made / posts, 2),
        "share_of_limit": round((posts + made) / (tokens * REQUESTS * measured_min), 4),
        "statuses_told": round(sum(told) / len(told), 3) if told else 0.0,
        "open_batches": len(world.lane.batches),
        "status_429": api.refused["429"],
        "requests_per_60_s_max_token": max(window.most for window in api.tokens.values()),
    }


def measure() -> dict[str, Any]:
    """Each mode with one token and with ten.

    Returns a list ``modes`` of figures for each mode, number of tokens and, for ``all``, checks that a batch needs; and
    the least share of the limit, the least share of statuses that ``all`` told, and the 429s, over all of them.
    """
    began_s = time.perf_counter()
    modes = [_settled("all", tokens, checks) for tokens in (1, 10) for checks in (1, 2, 3)]
    modes += [_settled(mode, tokens, 1) for mode in ("best_effort", "none") for tokens in (1, 10)]
    return {
        "modes": modes,
        "least_share_of_limit": min(each["share_of_limit"] for each in modes),
        "least_told_by_all": min(each["statuses_told"] for each in modes if each["mode"] == "all"),
        "status_429": sum(each["status_429"] for each in modes),
        "seconds": round(time.perf_counter() - began_s, 1),
    }


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(measure())}\n")
