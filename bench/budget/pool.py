"""One account with more work than ten tokens can do, for the ramp and one hour of virtual time.

    uv run python -m bench.budget.pool

Statuses are not checked.
"""

import json
import sys
import time

from bench.budget.api import RECORDS, REQUESTS, TOKENS, Api
from bench.budget.plenty import busy_world

HOUR_S = 3600.0


def measure(seed: int = 1) -> dict[str, object]:
    """Ramp up to ten tokens and go on for one hour.

    Returns the minutes until the pool was full; of the hour after it the share of 300,000 records a minute that was
    used and the least of any minute; 429s and 401s, the most mints in any 30 minutes, and the most requests in any 60
    seconds, of one token and of the account, all of the whole run; and how often tokens were minted.
    """
    began_s = time.perf_counter()
    api = Api()
    world = busy_world(api, seed)
    world.run(HOUR_S)
    if len(api.minted_s) < TOKENS:
        return {"ramp_minutes": None, "tokens": len(api.minted_s)}
    full_s = list(api.minted_s.values())[TOKENS - 1]
    world.run(full_s + HOUR_S + 60.0)
    minutes = [0] * 60
    for at_s in api.accepted_s:
        if full_s + 60.0 <= at_s < full_s + 60.0 + HOUR_S:
            minutes[int((at_s - full_s - 60.0) // 60)] += 1
    return {
        "ramp_minutes": round(full_s / 60, 1),
        "share_of_limit": round(sum(minutes) / (60 * TOKENS * REQUESTS), 4),
        "least_minute_share": round(min(minutes) / (TOKENS * REQUESTS), 4),
        "records_per_minute": round(sum(minutes) / 60 * RECORDS),
        "status_429": api.refused["429"],
        "status_401": api.refused["401"],
        "mints_per_30_min_max": api.mints.most,
        "mints": len(api.minted_s),
        "requests_per_60_s_max_token": max(window.most for window in api.tokens.values()),
        "requests_per_60_s_max_account": api.account.most,
        "seconds": round(time.perf_counter() - began_s, 1),
    }


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(measure())}\n")
