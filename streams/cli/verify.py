"""``callstream verify``: is every intent accounted for exactly once, and was the API's budget kept?

Decided here: how the answer reaches people and programs. With ``--json`` standard output has one JSON object alone;
progress goes to standard error. The exit code is the verdict, so a Kafka that cannot be reached is "unknown", too.
"""

import time
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console

from streams.accounts import AccountBook
from streams.audit.report import Verdict
from streams.audit.rules import AuditRules, Limits
from streams.cli.kafka import KafkaView, kafka_view
from streams.cli.options import BootstrapOption, ConfigOption, OnlyJsonOption
from streams.cli.ranges import FromOption, OffsetsOption, Progress, ToOption, range_of
from streams.cli.report_tables import print_report
from streams.contracts.exits import ExitCode
from streams.kafka.ranges import Range
from streams.kafka.topic_names import TopicNames
from streams.kafka.verify import Verifier

EXITS: Final[dict[Verdict, ExitCode]] = {
    "valid": ExitCode.DONE,
    "invalid": ExitCode.CRASH,
    "unknown": ExitCode.PRECONDITION,
}


LedgerOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="What a fake API wrote with --ledger: what it saw is held against it.",
        show_default=False,
    ),
]
TextOption = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="A log to search for the phone numbers of the intents; may be given more than once.",
        show_default=False,
    ),
]
ExamplesOption = Annotated[int, typer.Option(min=0, help="How many examples to give of each anomaly.")]
StallOption = Annotated[
    float, typer.Option(min=1, help="Seconds without a message after which a topic counts as unreadable.")
]


def verify(
    *,
    from_: FromOption = None,
    to: ToOption = None,
    offsets: OffsetsOption = None,
    ledger: LedgerOption = None,
    text: TextOption = None,
    examples: ExamplesOption = 5,
    stall_s: StallOption = 60.0,
    as_json: OnlyJsonOption = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Account for every intent, and for the API's budget. Reads only; workers may be at work.

    Exits with 0 if all adds up, 1 if not, 3 if that cannot be told (the text says what could not be read).
    """
    wanted = range_of(from_, to, offsets, time.time_ns() // 1_000_000)
    view = kafka_view(config, bootstrap_servers)
    verifier = Verifier(
        view.options,
        TopicNames(**view.topics.model_dump()),
        _rules(view, wanted, with_ledger=ledger is not None, with_texts=bool(text), examples_max=examples),
        wanted,
        ledger,
        text or (),
        stall_s,
        Progress().tell,
    )
    report = verifier.run()
    if as_json:
        print(orjson.dumps(report.told()).decode())
    else:
        print_report(report, Console(highlight=False))
    raise typer.Exit(EXITS[report.verdict])


def _rules(view: KafkaView, wanted: Range, *, with_ledger: bool, with_texts: bool, examples_max: int) -> AuditRules:
    settings, resends_max = view.settings, view.settings.retry.ambiguous_resends_max
    everybody = settings.limits
    default = Limits(
        everybody.requests_per_minute_per_token,
        everybody.token_mints_per_30_min,
        resends_max,
        everybody.tokens_max,
    )
    limits = {
        account_id: Limits(
            account.limits.requests_per_minute_per_token,
            account.limits.token_mints_per_30_min,
            0 if account.policy == "hold" else resends_max,
            account.limits.tokens_max,
        )
        for account_id, account in AccountBook(settings).items()
    }
    return AuditRules(
        view.topics.intents,
        default,
        limits,
        settings.default_account,
        counted=settings.outcomes.level == "batch",
        with_ledger=with_ledger,
        with_texts=with_texts,
        whole=wanted.whole,
        examples_max=examples_max,
    )
