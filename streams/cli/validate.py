"""``callstream validate``: hold call intents in a file against the contract, offline, as a worker would.

One JSON line out per line in, so that results join to the input by line number. What must stay true: no output quotes
the input, because it goes into the logs of CI jobs.
"""

import time
from collections.abc import Container
from pathlib import Path
from typing import Annotated

import orjson
import typer

from streams.cli.ndjson import read_lines
from streams.cli.options import ConfigOption
from streams.contracts.exits import ExitCode
from streams.intake.reader import ValidIntent, read_intent
from streams.intake.reasons import Code, because
from streams.intake.rules import IntakeRules
from streams.settings import load_settings
from streams.settings.sections import ApiSettings, IntentSettings

_TOO_LARGE = because(Code.TOO_LARGE)


class AnyAccount:
    """Every account, where no configuration says which there are."""

    def __contains__(self, _account_id: object) -> bool:
        return True


def validate(
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(
            metavar="FILE", help="Intents as NDJSON, one per line; - is standard input.", show_default=False
        ),
    ],
    now: Annotated[
        int | None,
        typer.Option(
            metavar="MS",
            min=0,
            help="Check as if it were this time (epoch milliseconds).",
            show_default="the clock",
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Check call intents in a file, offline, and print one JSON line for each.

    Without a configuration any account is taken, and the rules are those of the default settings.

    Exits with 0 if all are valid, 1 if some are not.
    """
    rules = rules_of(config)
    failed, number = False, 0
    for number, line in read_lines(file):
        now_ms = time.time_ns() // 1_000_000 if now is None else now
        result = _result(line, rules, now_ms)
        failed = failed or not result["ok"]
        print(orjson.dumps({"line": number, **result}).decode())
    if not number:
        typer.echo("there are no intents", err=True)
    if failed:
        raise typer.Exit(ExitCode.CRASH)


def rules_of(config: Path | None) -> IntakeRules:
    """Return the rules of the settings in ``config``; if it is ``None``, those of the defaults, for any account."""
    if config is None:
        deadline_s: float = ApiSettings.model_fields["post_deadline_s"].default
        return _rules(AnyAccount(), None, IntentSettings(), deadline_s)
    settings = load_settings(config)
    accounts = frozenset(account.id for account in settings.accounts)
    return _rules(accounts, settings.default_account, settings.intents, settings.api.post_deadline_s)


def _rules(
    accounts: Container[str], default_account: str | None, intents: IntentSettings, deadline_s: float
) -> IntakeRules:
    return IntakeRules(
        accounts=accounts,
        default_account=default_account,
        horizon_ms=intents.horizon_h * 3_600_000,
        strict_unknown_fields=intents.strict_unknown_fields,
        reason_characters=intents.reason_characters,
        expiry_margin_ms=int(deadline_s * 1000),
    )


def _result(line: bytes | None, rules: IntakeRules, now_ms: int) -> dict[str, bool | str | None]:
    """Return what is said about one line. A valid one may have a message too: what a worker would only count."""
    if line is None:
        return {"ok": False, "reason": _TOO_LARGE.code, "message": _TOO_LARGE.message}
    read = read_intent(line, None, rules, now_ms)
    if isinstance(read, ValidIntent):
        return {"ok": True, "reason": None, "message": _remarks(read)}
    return {"ok": False, "reason": read.reason.code, "message": read.reason.message}


def _remarks(intent: ValidIntent) -> str | None:
    remarks = []
    if intent.unknown_fields:
        remarks.append(f"fields that intents do not have, dropped: {intent.unknown_fields}")
    if intent.disliked_reason:
        remarks.append(because(Code.REASON_CHARACTERS).message)
    return "; ".join(remarks) or None
