"""``callstream publish``: put intents into the intents topic, made up or from a file.

Decided here: which accounts made-up intents are for. The accounts of the settings, where there are any, since a worker
takes only those; else made-up ones, which ``--print-accounts`` writes as a section for the worker's configuration.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, BinaryIO

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from streams.cli.interrupt import Interrupt
from streams.cli.kafka import kafka_errors, kafka_view
from streams.cli.options import BootstrapOption, ConfigOption
from streams.contracts.exits import ExitCode
from streams.sandbox.accounts import SyntheticAccount, accounts_of, accounts_yaml, synthetic_accounts
from streams.sandbox.dialer import Dialer
from streams.sandbox.pacer import Pacer
from streams.sandbox.publisher import Publisher

COUNT_DEFAULT = 1000
ACCOUNTS_DEFAULT = 10

# Longest wait before looking at the clock, at Ctrl-C and at delivery reports again.
_WAIT_S_MAX = 0.1

Take = Callable[[int], list[bytes]]
"""Return at most that many messages, or none at all when there are no more."""


def publish(
    *,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="How many intents.", show_default=f"{COUNT_DEFAULT}, or the whole file"),
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="Intents a second; 0 is as fast as possible.")] = 0.0,
    accounts: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="For how many accounts: the first of the settings, or made-up ones where the settings have none.",
            show_default=f"all of the settings, or {ACCOUNTS_DEFAULT}",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same accounts, people and mistakes.")] = 0,
    bad_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of intents that are wrong on purpose, in eight ways.")
    ] = 0.01,
    file: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(
            metavar="FILE",
            help="Publish the lines of this file instead, byte for byte (- is standard input); empty ones are skipped.",
            show_default=False,
        ),
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option(help="Topic to write to.", show_default="kafka.topics.intents of the settings"),
    ] = None,
    bootstrap_servers: BootstrapOption = None,
    print_accounts: Annotated[
        bool, typer.Option("--print-accounts", help="Publish nothing; print made-up accounts as YAML for the settings.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
    config: ConfigOption = None,
) -> None:
    """Publish call intents to the intents topic, made up or from a file.

    Exits with 0 if every message was acknowledged, 1 if some were not, 3 without the topic, 130 if interrupted.
    """
    if print_accounts:
        typer.echo(accounts_yaml(synthetic_accounts(accounts or ACCOUNTS_DEFAULT, seed)), nl=False)
        return
    view = kafka_view(config, bootstrap_servers)
    target = topic or view.topics.intents
    made = Made()
    with kafka_errors(view.options):
        if file is None:
            who = _accounts(view.account_ids, accounts, seed)
            count = count or COUNT_DEFAULT
            take = _from_dialer(Dialer(who, seed=seed, bad_share=bad_share), count, made)
        else:
            take = _from_lines(file, count)
        publisher = Publisher(view.options, target)
        report = _run(publisher, take, rate, count)
    _tell(target, publisher, report, made, as_json=as_json)


class Made:
    """What the dialer spoilt, by kind."""

    def __init__(self) -> None:
        self.bad: Counter[str] = Counter()


@dataclass(frozen=True, slots=True)
class Report:
    """How a run of publishing went."""

    seconds: float
    interrupted: bool


def _accounts(configured: Iterable[str], wanted: int | None, seed: int) -> tuple[SyntheticAccount, ...]:
    known = accounts_of(configured)
    if not known:
        return synthetic_accounts(wanted or ACCOUNTS_DEFAULT, seed)
    if wanted is not None and wanted > len(known):
        raise typer.BadParameter(
            f"the settings have only {len(known)}: intents for other accounts would be refused", param_hint="--accounts"
        )
    return known[:wanted]


def _from_dialer(dialer: Dialer, count: int, made: Made) -> Take:
    def take(most: int) -> list[bytes]:
        dialed = dialer.take(min(most, count - dialer.made), time.time_ns() // 1_000_000)
        made.bad.update(one.bad for one in dialed if one.bad)
        return [one.value for one in dialed]

    return take


def _from_lines(stream: BinaryIO, count: int | None) -> Take:
    lines = islice((line.removesuffix(b"\n") for line in stream if line.strip()), count)
    # A pipe may be slow: what has come through it must not wait for what has not.
    most_at_once = None if stream.seekable() else 1

    def take(most: int) -> list[bytes]:
        return list(islice(lines, most_at_once or most))

    return take


def _run(publisher: Publisher, take: Take, rate: float, total: int | None) -> Report:
    started_s = time.monotonic()
    pacer = Pacer(rate, started_s)
    with Interrupt() as interrupt, _progress(total) as advance:
        while not interrupt:
            due = pacer.due(time.monotonic())
            values = take(due) if due else []
            if due and not values:
                break
            for value in values:
                publisher.send(value)
            publisher.wait(0.0 if values else min(_WAIT_S_MAX, pacer.wait_s()))
            advance(publisher.delivered)
        publisher.close()
        advance(publisher.delivered)
    return Report(time.monotonic() - started_s, bool(interrupt))


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("publishing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda delivered: progress.update(task, completed=delivered)


def _tell(topic: str, publisher: Publisher, report: Report, made: Made, *, as_json: bool) -> None:
    failed = publisher.failed.total()
    if as_json:
        summary = {
            "topic": topic,
            "published": publisher.delivered,
            "failed": failed,
            "errors": dict(publisher.failed),
            "bad": dict(made.bad),
            "seconds": round(report.seconds, 3),
            "interrupted": report.interrupted,
        }
        typer.echo(orjson.dumps(summary))
    else:
        speed = publisher.delivered / report.seconds if report.seconds else 0.0
        bad = f", {made.bad.total():,} of them bad on purpose" if made.bad else ""
        errors = ", ".join(f"{count:,} {name}" for name, count in publisher.failed.most_common())
        typer.echo(
            f"published {publisher.delivered:,} intents to {topic} in {report.seconds:.1f} s ({speed:,.0f}/s){bad}"
            + (f"; {failed:,} failed ({errors})" if failed else "")
        )
    if report.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if failed:
        raise typer.Exit(ExitCode.CRASH)
