"""The budget in real time: workers on a real Apache Kafka, a fake API that keeps its limits strictly.

Everything is counted in the API's own ledger. What must stay true: the load is there before the first request and
outlasts the last, so that no request is missing for want of intents.
"""

import signal
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.kafka import Cluster
from streams.audit.budget import MINUTE_S, Uses
from streams.kafka.partitions import partition_of
from tests.e2e.world import PARTITIONS, Worker, World, until

LIMIT = 60
RECORDS_MAX = 500
# Twice what one token may send, and enough in store that the windows are full from the start.
LOAD_PER_S = 2 * LIMIT * RECORDS_MAX // 60
STORE = 20_000
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0


def steady(minutes: int) -> dict[str, Any]:
    """One account, one token, twice the load that it may send; measured for ``minutes`` after the first one."""
    with _deployment() as world:
        worker = world.start_worker("worker-0")
        with world.load(LOAD_PER_S):
            _wait_for_requests(world, (minutes + 1) * MINUTE_S)
        _stop(worker)
        lines = _requests(world)
    begin_s = lines[0]["received_mono"] + MINUTE_S
    measured = [line for line in lines if begin_s <= line["received_mono"] < begin_s + minutes * MINUTE_S]
    posts = [line["count"] for line in measured if line["kind"] == "post"]
    return {
        "minutes": minutes,
        "requests": len(measured),
        "share_of_limit": round(len(measured) / (LIMIT * minutes), 4),
        "posts": len(posts),
        "checks": len(measured) - len(posts),
        "posts_not_full": sum(count != RECORDS_MAX for count in posts),
        **_judged(lines),
    }


def moving(rounds: int) -> dict[str, Any]:
    """Under the same load the account goes from worker to worker: its owner stops in order, another takes over."""
    with _deployment() as world:
        workers = [world.start_worker(instance) for instance in ("worker-0", "worker-1")]
        with world.load(LOAD_PER_S):
            _wait_for_requests(world, 10.0)
            for number in range(rounds):
                _wait_for_requests(world, _span_s(world) + MINUTE_S / 2)
                owner = next(worker for worker in workers if worker.code is None and _serves(world, worker))
                _stop(owner)
                workers.append(world.start_worker(f"worker-{number + 2}"))
            _wait_for_requests(world, _span_s(world) + MINUTE_S / 2)
        for worker in workers:
            if worker.code is None:
                _stop(worker)
        lines = _requests(world)
    minutes = (lines[-1]["received_mono"] - lines[0]["received_mono"]) / MINUTE_S
    return {
        "moves": rounds,
        "minutes": round(minutes, 1),
        "requests": len(lines),
        "share_of_limit": round(len(lines) / (LIMIT * minutes), 3),
        **_judged(lines),
    }


@contextmanager
def _deployment() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as directory, Cluster(session_timeout_s=6) as kafka:
        limits = {"tokens_max": 1, "requests_per_minute_per_token": LIMIT, "token_mints_per_30_min": 10}
        world = World(kafka.bootstrap, Path(directory), accounts=1, limits=limits).make_topics()
        try:
            world.publish(STORE)
            world.start_api(limits="strict", status_delay_s=5.0)
            yield world
        finally:
            world.end()


def _requests(world: World) -> list[Mapping[str, Any]]:
    """POSTs and status checks, as the API received them."""
    lines = [line for line in world.ledger_lines() if line["kind"] != "mint"]
    return sorted(lines, key=lambda line: line["received_mono"])


def _span_s(world: World) -> float:
    lines = _requests(world)
    return lines[-1]["received_mono"] - lines[0]["received_mono"] if lines else 0.0


def _wait_for_requests(world: World, span_s: float) -> None:
    until(lambda: _span_s(world) >= span_s, span_s + START_TIMEOUT_S, lambda: f"{_span_s(world):.0f} s of requests")


def _serves(world: World, worker: Worker) -> bool:
    """Whether this worker owns the account now."""
    return partition_of(world.accounts[0].id.encode(), PARTITIONS) in worker.owned()


def _stop(worker: Worker) -> None:
    worker.signal(signal.SIGTERM)
    code = worker.wait(STOP_TIMEOUT_S)
    assert code == 0, f"a worker that was told to stop ended with {code}"


def _judged(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What must never happen, over the whole run."""
    by_token: dict[str, Uses] = {}
    for line in lines:
        by_token.setdefault(str(line["token"]), Uses()).add(line["received_mono"], line["received_mono"])
    busiest = max(uses.busiest(MINUTE_S, exact=True)[0] for uses in by_token.values())
    statuses = Counter(line["status"] for line in lines)
    return {"busiest_minute_of_a_token": busiest, "http_429": statuses[429], "tokens": len(by_token)}
