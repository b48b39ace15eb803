"""``callstream verify``: is every intent accounted for exactly once, and was the API's budget kept?

Decided here: how the answer reaches people and programs. With ``--json`` standard output has one JSON object alone;
progress goes to standard error. The exit code is the verdict, so a Kafka that cannot be reached is "unknown", too.
"""

import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console

from streams.accounts import AccountBook
from streams.audit.report import Verdict
from streams.audit.rules import AuditRules, Limits
from streams.cli.kafka import KafkaView, kafka_view
from streams.cli.options import ConfigOption
from streams.cli.report_tables import print_report
from streams.contracts.exits import ExitCode
from streams.kafka.topic_names import TopicNames
from streams.kafka.verify import Range, Verifier

EXITS: Final[dict[Verdict, ExitCode]] = {
    "valid": ExitCode.DONE,
    "invalid": ExitCode.CRASH,
    "unknown": ExitCode.PRECONDITION,
}

_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_RELATIVE: Final = re.compile(r"-(\d+(?:\.\d+)?)([smhd])")
_OFFSETS: Final = re.compile(r"(\d+):(\d+)-(\d*)")
_TELL_EVERY_S: Final = 5.0


def verify(
    *,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TIME", help="Intents from then on: ISO 8601, epoch ms, or as -1h.", show_default=False
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="TIME", help="Intents before then, likewise.", show_default=False)
    ] = None,
    offsets: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PARTITION:FROM-[TO]", help="Intents by offset instead; may be given for more than one partition."
        ),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="What a fake API wrote with --ledger: what it saw is held against it."
        ),
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="A log to search for the phone numbers of the intents."),
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="How many examples to give of each anomaly.")] = 5,
    stall_s: Annotated[
        float, typer.Option(min=1, help="Seconds without a message after which a topic counts as unreadable.")
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    bootstrap_servers: Annotated[
        str | None, typer.Option(help="Kafka's address, instead of the one in the settings.", show_default=False)
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Account for every intent, and for the API's budget. Reads only; workers may be at work.

    Exits with 0 if all adds up, 1 if not, 3 if that cannot be told (the text says what could not be read).
    """
    view = kafka_view(config, bootstrap_servers)
    now_ms = time.time_ns() // 1_000_000
    wanted = Range(_time(from_, now_ms, "--from"), _time(to, now_ms, "--to"), _offsets(offsets))
    if wanted.offsets is not None and (from_ or to):
        raise typer.BadParameter("takes the place of --from and --to", param_hint="--offsets")
    verifier = Verifier(
        view.options,
        TopicNames(**view.topics.model_dump()),
        _rules(view, wanted, with_ledger=ledger is not None, with_texts=bool(text), examples_max=examples),
        wanted,
        ledger,
        text or (),
        stall_s,
        _Progress().tell,
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
    default = Limits(everybody.requests_per_minute_per_token, everybody.token_mints_per_30_min, resends_max)
    limits = {
        account_id: Limits(
            account.limits.requests_per_minute_per_token,
            account.limits.token_mints_per_30_min,
            0 if account.policy == "hold" else resends_max,
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


def _time(given: str | None, now_ms: int, option: str) -> int | None:
    if given is None:
        return None
    if given.isdigit():
        return int(given)
    if relative := _RELATIVE.fullmatch(given):
        return now_ms - round(float(relative[1]) * _UNITS_MS[relative[2]])
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise typer.BadParameter("must be ISO 8601, epoch milliseconds, or as -1h", param_hint=option) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _offsets(given: list[str] | None) -> dict[int, tuple[int, int | None]] | None:
    if not given:
        return None
    found = {}
    for text in given:
        match = _OFFSETS.fullmatch(text)
        if match is None:
            raise typer.BadParameter("must be as 0:100-200 or 0:100-", param_hint="--offsets")
        found[int(match[1])] = (int(match[2]), int(match[3]) if match[3] else None)
    return found


class _Progress:
    """Says on standard error what is being read, once it takes long."""

    def __init__(self) -> None:
        self._told_s = time.monotonic()

    def tell(self, topic: str, done: int, of: int) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= _TELL_EVERY_S:
            self._told_s = now_s
            print(f"reading {topic}: {done:,} of {of:,}", file=sys.stderr)
