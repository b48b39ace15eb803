"""``callstream plan``: what would happen to these intents, under this configuration?

Decided here: when intents arrive. Those of a topic come as they were recorded there, those of a file all at once, and
both, where that is asked for, at a rate. What must stay true: nothing is written anywhere, also not to Kafka, and no
output quotes an intent.
"""

import gc
import time
from dataclasses import replace
from typing import Annotated, Final, NoReturn

import orjson
import typer

from streams.accounts import AccountBook
from streams.app_options import intake_rules, lane_options
from streams.cli.kafka import KafkaView, kafka_view
from streams.cli.options import BootstrapOption, ConfigOption, OnlyJsonOption
from streams.cli.plan_sources import of_file, of_topic, paced
from streams.cli.plan_tables import plan_console, print_plan
from streams.cli.ranges import FromOption, OffsetsOption, ToOption, range_of
from streams.cli.validate import AnyAccount
from streams.contracts.exits import ExitCode
from streams.kafka.ranges import Range
from streams.plan.planner import Planner, PlanOptions
from streams.plan.rehearsal import Weather
from streams.plan.report import Plan

# Nothing that is made here is part of a cycle; to look for some among what waits would be a third of the work.
_GC_NEW_OBJECTS: Final = 200_000

FileArgument = Annotated[
    typer.FileBinaryRead | None,
    typer.Argument(
        metavar="FILE",
        help="Intents as NDJSON, one per line; - is standard input. Without it they are read from their topic.",
        show_default=False,
    ),
]
BacklogOption = Annotated[
    bool, typer.Option("--backlog", help="Of the topic, what no worker has routed yet, all of it arriving now.")
]
RateOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Let them arrive one after the other, so many a second; 0 is all at once.",
        show_default="as they were recorded in the topic; a file or a backlog at once",
    ),
]
NowOption = Annotated[
    int | None,
    typer.Option(
        metavar="MS",
        min=0,
        help="When the first arrives (epoch milliseconds).",
        show_default="the clock",
    ),
]
LingerOption = Annotated[
    list[int] | None,
    typer.Option(
        min=0,
        max=60_000,
        help="Compare this linger, too; may be given more than once.",
        show_default="a fifth and four times that of the settings",
    ),
]
AnswerOption = Annotated[float, typer.Option(min=0, max=30_000, help="How long the API takes to answer.")]
StatusDelayOption = Annotated[
    float, typer.Option(min=0, max=3600, help="How long the API takes until the statuses of a batch are final.")
]


def plan(
    *,
    file: FileArgument = None,
    from_: FromOption = None,
    to: ToOption = None,
    offsets: OffsetsOption = None,
    backlog: BacklogOption = False,
    rate: RateOption = None,
    now: NowOption = None,
    linger_ms: LingerOption = None,
    answer_ms: AnswerOption = 200.0,
    status_delay_s: StatusDelayOption = 5.0,
    as_json: OnlyJsonOption = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Say what would happen to call intents: what is invalid, batches and requests, tokens, deadlines missed.

    The worker's own code is rehearsed on virtual time, against an API that takes everything; nothing is sent or
    written. Without accounts in the settings, any account is taken.

    Exits with 0 if every intent would be sent, 1 if some would not, 3 if they cannot be read.
    """
    gc.set_threshold(_GC_NEW_OBJECTS)
    clock_ms = time.time_ns() // 1_000_000
    wanted = range_of(from_, to, offsets, clock_ms)
    recorded = file is None and rate is None and not backlog
    _check(wanted, with_file=file is not None, backlog=backlog, moved=recorded and now is not None)
    view = kafka_view(config, bootstrap_servers)
    planner = Planner(_options(view, Weather(answer_ms / 1000, status_delay_s), linger_ms))
    arrivals = of_file(file) if file else of_topic(view, None if backlog else wanted, planner.notes.append)
    for arrival in arrivals if recorded else paced(arrivals, rate or 0.0, clock_ms if now is None else now):
        planner.take(arrival)
    _tell(planner.plan(), as_json=as_json)


def _tell(found: Plan, *, as_json: bool) -> NoReturn:
    if as_json:
        print(orjson.dumps(found.told()).decode())
    else:
        print_plan(found, plan_console())
    raise typer.Exit(ExitCode.DONE if found.all_sent else ExitCode.CRASH)


def _check(wanted: Range, *, with_file: bool, backlog: bool, moved: bool) -> None:
    """Refuse options that contradict each other. ``moved``: --now, where the topic says when each intent arrived."""
    if with_file and not wanted.whole:
        raise typer.BadParameter("are of the topic; leave them out, or FILE", param_hint="--from, --to, --offsets")
    if with_file and backlog:
        raise typer.BadParameter("is of the topic; leave it out, or FILE", param_hint="--backlog")
    if backlog and not wanted.whole:
        raise typer.BadParameter("takes the place of --from, --to and --offsets", param_hint="--backlog")
    if moved:
        raise typer.BadParameter("needs --rate: the topic says when each intent arrived", param_hint="--now")


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
