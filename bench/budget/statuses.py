"""How many records a minute an account can submit where statuses are checked, and what becomes of the statuses.

    uv run python -m bench.budget.statuses

One account with more work than its tokens can do, on virtual time (see :mod:`bench.budget.pool`). Each batch needs so
many checks until the API tells its last status. What is measured is the time after the backlog of checks has settled:
accepted batches of 500 a minute, the checks made for each of them, and the share of batches whose statuses were told.
"""

import json
import sys
import time
from typing import Any

from bench.budget.pool import MINTS, RECORDS, REQUESTS, Window, World
from bench.budget.traffic import EPOCH_MS
from streams.contracts.journal import TokenEntry, TokensEntry
from streams.lane import answers
from streams.lane.actions import Action, Check, Write
from streams.lane.instant import Instant
from streams.lane.options import StatusMode
from streams.lane.verdict import CheckVerdict, NotVisible, RecordState, RecordStatus, Statuses

# Minutes until it has settled, and minutes that are measured. The open batches reach their bound, or the oldest check
# waits for as long as it ever does; then batches come in waves, as they are asked for in turn, and whole ones count.
SPANS_MIN = {("all", 1): (15, 45), ("all", 10): (4, 12)}
OTHERWISE_MIN = (2, 4)


class CheckedWorld(World):
    """A world whose batches need so many checks each."""

    def __init__(self, mode: StatusMode, tokens: int, checks: int) -> None:
        super().__init__(1, statuses=mode, tokens_max=tokens)
        self.checks_s: list[float] = []
        self.told: list[tuple[float, bool]] = []
        self._checks = checks
        self._asked: dict[str, int] = {}
        self._grant(tokens)

    def _grant(self, tokens: int) -> None:
        """As an owner who has them from another one."""
        entries = []
        for ordinal in range(tokens):
            self.api.minted_s.append(0.0)
            self.api.tokens[f"token-{ordinal}"] = Window(60.0, REQUESTS)
            entries.append(TokenEntry(ordinal, EPOCH_MS + ordinal, f"token-{ordinal}"))
        assert tokens <= MINTS
        self.lane.tokens.restore(TokensEntry(tuple(entries), (), tokens, released=True), Instant(EPOCH_MS, 0.0))

    def _perform(self, action: Action) -> None:
        if isinstance(action, Write):
            self.told += [
                (self.now_s, outcomes.reason is None)
                for outcomes in action.outcomes
                for _ in outcomes.held
                if outcomes.status.final
            ]
        super()._perform(action)

    def check(self, action: Check) -> None:
        """Ask for statuses: pending until the last of so many times."""
        batch = self.lane.batches[action.batch_ref]
        (one,) = batch.unpacked(self.lane.tools.packer)
        row = one.row

        def arrive(now_s: float) -> CheckVerdict:
            if not self.api.count(action.token.secret, now_s):
                self.api.refused["429"] += 1
            self.checks_s.append(now_s)
            asked = self._asked[action.batch_id] = self._asked.get(action.batch_id, 0) + 1
            if asked < self._checks:
                return NotVisible("http_404")
            self._asked.pop(action.batch_id)
            told = (row.caller, row.receiver, row.label_id, None, None, row.starts_at, row.ends_at)
            return Statuses((RecordStatus("r", *told, RecordState.DELIVERED, "success", None),))

        self.request(
            arrive, lambda lane, verdict, sent_ms, now: answers.checked(lane, action.batch_ref, verdict, sent_ms, now)
        )


def _settled(mode: StatusMode, tokens: int, checks: int) -> dict[str, Any]:
    world = CheckedWorld(mode, tokens, checks)
    settled_min, measured_min = SPANS_MIN.get((mode, tokens), OTHERWISE_MIN)
    settled_s = 60.0 * settled_min
    world.run(settled_s + 60.0 * measured_min)
    api = world.api
    posts = sum(at_s >= settled_s for at_s in api.accepted_s)
    made = sum(at_s >= settled_s for at_s in world.checks_s)
    told = [delivered for at_s, delivered in world.told if at_s >= settled_s]
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
