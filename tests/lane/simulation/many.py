"""Many histories on all cores, and the judgement on the whole: nothing broken, and enough of everything injected."""

import gc
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final, NamedTuple

from streams.contracts.outcome import Status
from streams.lane.breaker import Cause
from tests.lane.simulation.committer import FENCED, HANGS
from tests.lane.simulation.history import replay
from tests.lane.simulation.weather import FAULTS

# From so many seeds on, every kind of fault must have fired.
SEEDS_FOR_FLOORS: Final = 200

# What must have been seen besides the faults: the net catches nothing where nothing swims by.
WANTED: Final = (
    "posts",
    "applied",
    "duplicates",
    "fell behind",
    "caught up",
    "recalled",
    "carried",
    "unresolved",
    "revoke timeouts",
    "post drift",
    "post bad record",
    "divided",
    "unknown label",
    *(f"breaker {cause}" for cause in Cause),
    "pool of several",
    "revoked",
    "throttled by a stricter limit",
    "nothing left",
    FENCED,
    HANGS,
    *(status.value for status in (Status.DELIVERED, Status.FAILED, Status.UNKNOWN, Status.EXPIRED, Status.REJECTED)),
)

FOUND_SEEDS: Final = Path(__file__).with_name("found_seeds.txt")

_SEEDS_AT_A_TIME: Final = 25


class Part(NamedTuple):
    """What some seeds brought: what was seen, and the first one that broke a promise, with how."""

    seen: Counter[str]
    failed: int | None = None
    story: str = ""


def live_through(seeds: Sequence[int]) -> Part:
    """Live through these seeds, one after the other, until one fails."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        try:
            seen += replay(seed)
        except Exception as error:  # noqa: BLE001 - whatever it is, the seed that shows it is what counts
            return Part(seen, seed, f"{type(error).__name__}: {error}")
    return Part(seen)


def on_all_cores(seeds: Sequence[int]) -> Iterator[Part]:
    """Live through these seeds; yields in their order."""
    parts = [seeds[start : start + _SEEDS_AT_A_TIME] for start in range(0, len(seeds), _SEEDS_AT_A_TIME)]
    pool = ProcessPoolExecutor(cores(), get_context("spawn"), _collect_garbage_rarely)
    try:
        yield from pool.map(live_through, parts)
    finally:
        pool.shutdown(cancel_futures=True)


def _collect_garbage_rarely() -> None:
    # A history is thrown away as a whole, cycles and all: looking for garbage inside it is a tenth of the time.
    gc.set_threshold(200_000, 20, 20)


def cores() -> int:
    """How many processes can run at a time."""
    return len(os.sched_getaffinity(0))


def missing(seen: Counter[str], seeds: int) -> list[str]:
    """What a run of so many seeds should have met, and did not."""
    if seeds < SEEDS_FOR_FLOORS:
        return [] if any(seen[fault] for fault in FAULTS) or seeds == 1 else ["any fault"]
    return [name for name in (*FAULTS, *WANTED) if not seen[name]]


def found_seeds() -> dict[int, str]:
    """Seeds that once broke a promise, and why."""
    lines = [line for line in FOUND_SEEDS.read_text().splitlines() if line and not line.startswith("#")]
    return {int(seed): why.strip() for seed, _, why in (line.partition(":") for line in lines)}
