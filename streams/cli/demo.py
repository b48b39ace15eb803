"""``callstream demo``: what a newcomer runs first. Everything it needs comes with it."""

import asyncio
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from streams.contracts.exits import OperatorError
from streams.kafka.embedded import EmbeddedKafkaError
from streams.sandbox.demo.screen import screen_on
from streams.sandbox.demo.show import DemoOptions, run_demo
from streams.sandbox.fake_api import FaultPlan

FAULTS = ""


def demo(
    *,
    rate: Annotated[float, typer.Option(min=0, help="Intents a second; 0 is as fast as possible.")] = 200.0,
    accounts: Annotated[int, typer.Option(min=1, max=50, help="Client accounts that dial.")] = 5,
    seed: Annotated[int, typer.Option(help="The same seed makes the same accounts, people, mistakes and faults.")] = 0,
    duration: Annotated[float, typer.Option(min=0, help="Seconds to dial.")] = 60.0,
    settle_s: Annotated[
        float, typer.Option(min=0, help="Then wait at most so long until every intent is final.")
    ] = 300.0,
    bad_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of intents that are wrong on purpose, in eight ways.")
    ] = 0.01,
    faults: Annotated[
        str, typer.Option(metavar="SPEC", help="What the API shall do wrong, as for `callstream fake-api`.")
    ] = FAULTS,
    ledger: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Append every request that the API saw to this file, as NDJSON. Holds phone numbers, made-up ones.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object; show the rest on standard error.")
    ] = False,
) -> None:
    """Watch call intents become batches and outcomes: a Kafka, an API, dialers and a worker, all made up, all here.

    The worker is the real one; the Kafka lives in this process and forgets everything at the end.

    Exits with 0 if every intent became final, 1 if some did not or the worker failed, 130 after Ctrl-C.
    """
    try:
        plan = FaultPlan.parse(faults)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--faults") from None
    options = DemoOptions(
        rate=rate,
        accounts=accounts,
        seed=seed,
        duration_s=duration,
        settle_s=settle_s,
        bad_share=bad_share,
        faults=plan,
        ledger=ledger,
    )
    screen = screen_on(Console(stderr=as_json))
    try:
        summary, worker_log = asyncio.run(run_demo(options, screen))
    except EmbeddedKafkaError as error:
        raise OperatorError(str(error)) from None
    except OSError as error:
        raise OperatorError(f"the demo cannot start: {error}") from None
    typer.echo(orjson.dumps(summary.as_json()) if as_json else summary.as_text())
    if worker_log:
        typer.echo(f"the worker ended with exit code {summary.worker_exit}; its log ends with:\n{worker_log}", err=True)
    raise typer.Exit(summary.exit_code)
