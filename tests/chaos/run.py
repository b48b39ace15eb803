"""One run of chaos from the start of Kafka to the verdict: load and faults, then heal, then settle, then judge."""

import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scripts.kafka import BUILD
from tests.chaos.arena import WORKERS, Arena, Plot, arena
from tests.chaos.schedule import plan
from tests.chaos.verdict import Evidence, judge
from tests.e2e.artefacts import Outcomes, collect, findings_of
from tests.e2e.world import PARTITIONS, until

# A batch in doubt waits 35 s after each take-over; its answer may be lost once more; then the statuses.
SETTLE_TIMEOUT_S = 180.0
DRAIN_TIMEOUT_S = 60.0


def run(plot: Plot, *, keep: bool = False) -> dict[str, Any]:
    """Run ``plot`` on a Kafka of its own and return the verdict. Files of a run that is not valid are kept."""
    folder = BUILD.parent / "chaos"
    folder.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f"{plot.protocol}-{plot.policy}-{plot.seed}-", dir=folder))
    print(f"files of this run: {directory}", file=sys.stderr)
    told = run_in(plot, directory)
    if told["verdict"] == "valid" and not keep:
        shutil.rmtree(directory)
    return told


def run_in(plot: Plot, directory: Path) -> dict[str, Any]:
    """Run ``plot`` with all files in ``directory`` and return the verdict."""
    began_s = time.monotonic()
    with ExitStack() as stack:
        made = stack.enter_context(arena(plot, directory))
        outcomes = Outcomes(made.world)
        stack.callback(outcomes.close)
        with made.world.load(plot.rate):
            made.wreak(plan(plot.seconds, plot.seed), outcomes.final_count)
            made.heal()
        problems = [*_settle(made, outcomes, plot)]
        last_codes = _drain(made, problems)
        found = collect(made.world, outcomes, crashes=False)
        evidence = Evidence(
            plot=plot,
            published=made.world.published,
            fired=made.fired,
            ended=made.keeper.ended,
            last_codes=last_codes,
            findings=findings_of(made.world, found),
            pending=made.world.published - outcomes.final_count(),
            seconds=time.monotonic() - began_s,
            problems=problems,
        )
        return judge(evidence, found)


def _settle(made: Arena, outcomes: Outcomes, plot: Plot) -> list[str]:
    """Wait until every intent is final; what is not by then is the verdict's business."""
    print("healed, waiting for every intent to settle", file=sys.stderr, flush=True)
    try:
        outcomes.until_final(made.world.published, SETTLE_TIMEOUT_S)
        until(lambda: made.owned(*WORKERS) == set(range(PARTITIONS)), 30, "every partition has an owner")
    except AssertionError as late:
        return [str(late)]
    return []


def _drain(made: Arena, problems: list[str]) -> dict[str, int]:
    try:
        return made.keeper.stop(DRAIN_TIMEOUT_S)
    except AssertionError as late:
        problems.append(str(late))
        return {}
