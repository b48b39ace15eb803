"""``callstream plan``: what would happen to these intents, under this configuration?

Decided here: when intents arrive. Those of a file come all at once, or at a rate, from now on or from another time.
What must stay true: nothing is written anywhere, and no output quotes an intent.
"""

import gc
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, BinaryIO, Final

import orjson
import typer
from rich.console import Console

from streams.accounts import AccountBook
from streams.app_options import intake_rules, lane_options
from streams.cli.kafka import KafkaView, kafka_view
from streams.cli.ndjson import read_lines
from streams.cli.options import ConfigOption
from streams.cli.plan_tables import print_plan
from streams.cli.validate import AnyAccount
from streams.contracts.exits import ExitCode
from streams.plan.planner import Arrival, Planner, PlanOptions
from streams.plan.rehearsal import Weather

# Nothing that is made here is part of a cycle; to look for some among what waits would be a third of the work.
_GC_NEW_OBJECTS: Final = 200_000


def plan(
    *,
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(
            metavar="FILE", help="Intents as NDJSON, one per line; - is standard input.", show_default=False
        ),
    ],
    rate: Annotated[
        float, typer.Option(min=0, help="Let them arrive one after the other, so many a second; 0 is all at once.")
    ] = 0.0,
    now: Annotated[
        int | None,
        typer.Option(
            metavar="MS",
            min=0,
            help="When the first arrives (epoch milliseconds).  [default: the clock]",
            show_default=False,
        ),
    ] = None,
    linger_ms: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            max=60_000,
            help="Compare this linger, too; may be given more than once.",
            show_default="a fifth and four times that of the settings",
        ),
    ] = None,
    answer_ms: Annotated[float, typer.Option(min=0, max=30_000, help="How long the API takes to answer.")] = 200.0,
    status_delay_s: Annotated[
        float, typer.Option(min=0, max=3600, help="How long the API takes until the statuses of a batch are final.")
    ] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    config: ConfigOption = None,
) -> None:
    """Say what would happen to call intents: what is invalid, batches and requests, tokens, deadlines missed.

    The worker's own code is rehearsed on virtual time, against an API that takes everything. Nothing is sent and
    nothing is written. Without accounts in the settings, any account is taken.

    Exits with 0 if every intent would be sent, 1 if some would not.
    """
    gc.set_threshold(_GC_NEW_OBJECTS)
    view = kafka_view(config)
    weather = Weather(answer_ms / 1000, status_delay_s)
    planner = Planner(_options(view, weather, linger_ms))
    start_ms = time.time_ns() // 1_000_000 if now is None else now
    for arrival in _of_file(file, rate, start_ms):
        planner.take(arrival)
    found = planner.plan()
    if as_json:
        print(orjson.dumps(found.told()).decode())
    else:
        print_plan(found, Console(highlight=False))
    raise typer.Exit(ExitCode.DONE if found.all_sent else ExitCode.CRASH)


def _of_file(stream: BinaryIO, rate: float, start_ms: int) -> Iterator[Arrival]:
    for count, (number, line) in enumerate(read_lines(stream)):
        yield Arrival(
            start_ms + round(count * 1000 / rate if rate else 0), f"line {number}", line, too_large=line is None
        )


def _options(view: KafkaView, weather: Weather, lingers_ms: list[int] | None) -> PlanOptions:
    settings, book = view.settings, AccountBook(view.settings)
    rules = intake_rules(settings, book)
    if not view.account_ids:
        rules = replace(rules, accounts=AnyAccount())
    usual_ms = settings.window.linger_ms
    others = {usual_ms // 5, min(usual_ms * 4, 60_000)} if lingers_ms is None else set(lingers_ms)
    anybody = next(iter(book.values()))
    return PlanOptions(
        rules,
        lambda account_id: lane_options(settings, account_id, book.get(account_id, anybody)),
        settings.worker_intents_max,
        sorted({usual_ms, *others}),
        weather,
    )
