"""One run of chaos from the start of Kafka to the verdict: load and faults, then heal, then settle, then judge."""

import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from scripts.kafka import BUILD, free_port
from streams.contracts.exits import ExitCode
from tests.chaos.arena import WORKERS, Arena, Plot, arena
from tests.chaos.forked import fork
from tests.chaos.schedule import plan
from tests.chaos.verdict import Evidence, OwnerGone, judge
from tests.e2e.artefacts import Outcomes, audited, collect, findings_of
from tests.e2e.world import PARTITIONS, Process, Worker, World, until

# Mints whose owners died before the answer came keep the next one away for up to three minutes, the tokens of a dead
# owner rest for 95 s, a batch in doubt waits 35 s after each take-over; its answer may be lost once more; then the
# statuses.
SETTLE_TIMEOUT_S = 480.0
DRAIN_TIMEOUT_S = 60.0
VERIFY_TIMEOUT_S = 300.0
# A worker notices so long after the group has given its partitions to somebody else.
UNNOTICED_S = 4.0


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
        problems = _settle(made, outcomes)
        last_codes = _drain(made, problems)
        afterwards = Outcomes(made.world)
        stack.callback(afterwards.close)
        found = collect(made.world, afterwards, crashes=False)
        outcomes.read_to_end()
        print(f"the reader beside the run was given {outcomes.again} messages again", file=sys.stderr, flush=True)
        if Counter(outcomes.all) != Counter(afterwards.all):
            more, less = (
                Counter(outcomes.all) - Counter(afterwards.all),
                Counter(afterwards.all) - Counter(outcomes.all),
            )
            problems.append(
                f"who read beside the run saw {more.total()} more and {less.total()} less: {[*more, *less][:3]}"
            )
        evidence = Evidence(
            plot=plot,
            published=made.world.published,
            fired=made.fired,
            ended=made.keeper.ended,
            last_codes=last_codes,
            findings=findings_of(audited(made.world, found)),
            pending=made.world.published - outcomes.final_count(),
            seconds=time.monotonic() - began_s,
            problems=problems,
            verified=_verify(made),
            losses=list(_losses(made.world)),
        )
        return judge(evidence, found)


def _settle(made: Arena, outcomes: Outcomes) -> list[str]:
    """Wait until every intent is final; what is not by then is the verdict's business."""
    print("healed, waiting for every intent to settle", file=sys.stderr, flush=True)
    published = made.world.published
    try:
        until(lambda: made.owned(*WORKERS) == set(range(PARTITIONS)), 60, "every partition has an owner")
        until(
            lambda: outcomes.final_count() + len(outcomes.unresolved) >= published,
            SETTLE_TIMEOUT_S,
            lambda: f"{published} intents settle; {outcomes.finals}, {len(outcomes.unresolved)} unresolved",
        )
        if outcomes.unresolved:
            _give_up(made)
        outcomes.until_final(published, SETTLE_TIMEOUT_S)
    except AssertionError as late:
        return [str(late)]
    return []


def _give_up(made: Arena) -> None:
    """Resolve what is in doubt, as an operator does: nobody knows what became of it."""
    config = str(made.world.config("operator", "consumer", free_port()))
    listed = _operator(made, "list", "--state", "unresolved", "--json", "--config", config)
    for batch in json.loads(listed.said().splitlines()[-1])["batches"]:
        _operator(made, "resolve", batch["batch_ref"], "--give-up", "--yes", "--config", config)


def _losses(world: World) -> Iterator[OwnerGone]:
    """On a busy machine a worker may lose partitions though nobody did anything to it; its log says so."""
    for process in world.processes:
        if isinstance(process, Worker):
            for event in process.events("partitions_lost"):
                noticed_s = datetime.fromisoformat(event["timestamp"]).timestamp()
                yield OwnerGone(noticed_s - UNNOTICED_S, noticed_s, frozenset(event["partitions"]))


def _verify(made: Arena) -> dict[str, Any]:
    """What ``callstream verify`` says of the run."""
    config = str(made.world.config("auditor", "consumer", free_port()))
    process = _command(made, "verify", "--config", config, "--ledger", str(made.world.ledger), "--json")
    process.wait(VERIFY_TIMEOUT_S)
    try:
        told: dict[str, Any] = json.loads(process.said().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        return {"verdict": "unknown", "said": process.said()[-500:]}
    return told


def _operator(made: Arena, *arguments: str) -> Process:
    process = _command(made, "batches", *arguments)
    code = process.wait(60)
    assert code == ExitCode.DONE, f"batches {arguments[0]} ended with {code}: {process.said()[-500:]}"
    return process


def _command(made: Arena, *arguments: str) -> Process:
    log = made.world.directory / f"command-{len(made.world.processes)}.log"
    process = Process(log, *arguments, launch=fork)
    made.world.processes.append(process)
    return process


def _drain(made: Arena, problems: list[str]) -> dict[str, int]:
    try:
        return made.keeper.stop(DRAIN_TIMEOUT_S)
    except AssertionError as late:
        problems.append(str(late))
        return {}
