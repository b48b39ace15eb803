"""``callstream accounts``: how the accounts stand, and pausing and resuming them."""

import re
from typing import Annotated, Any

import orjson
import typer

from streams.cli.batch_rows import rows_of, time_of
from streams.cli.journal import Refused, WaitOption, now_ms, read_journal, tell
from streams.cli.kafka import KafkaView, kafka_errors, kafka_view
from streams.cli.options import BootstrapOption, ConfigOption, JsonOption
from streams.contracts.command import Result, Verb
from streams.contracts.intent import UUID_PATTERN
from streams.contracts.journal import Packer
from streams.lane.mints import MINT_WINDOW_S
from streams.lane.recovery import AccountState
from streams.lane.token import TOKEN_USE_S

accounts_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Show the accounts, pause and resume them.")

_ACCOUNT_ID = re.compile(UUID_PATTERN)

AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT_ID", help="The client account id, in lower case.")]


@accounts_app.callback()
def _accounts() -> None:
    """Show the accounts, pause and resume them."""


@accounts_app.command()
def pause(
    account_id: AccountArgument,
    *,
    wait_s: WaitOption = 30.0,
    as_json: JsonOption = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Submit nothing for an account, and ask for no token, until it is resumed; restarts do not change that.

    Statuses of accepted batches are still asked for, while a token is at hand. Intents whose calls end meanwhile expire
    with an outcome. Exits with 0 once a worker has applied it, 1 if none has within --wait-s (it stays queued).
    """
    _change(account_id, Verb.PAUSE, wait_s, as_json, kafka_view(config, bootstrap_servers))


@accounts_app.command()
def resume(
    account_id: AccountArgument,
    *,
    wait_s: WaitOption = 30.0,
    as_json: JsonOption = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Let a paused account go on. Exits as `pause` does; an account that is not paused stays as it is."""
    _change(account_id, Verb.RESUME, wait_s, as_json, kafka_view(config, bootstrap_servers))


@accounts_app.command()
def show(
    account_id: Annotated[
        str | None, typer.Argument(metavar="ACCOUNT_ID", help="Only this account.", show_default=False)
    ] = None,
    *,
    as_json: JsonOption = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Show how accounts stand, as the journal has it: state, open batches, tokens and when the next one may be minted.

    Shows the accounts of the settings and all others in the journal. What waits in parcels is not counted.
    """
    view = kafka_view(config, bootstrap_servers)
    if account_id is not None:
        _check(account_id, view)
    with kafka_errors(view.options):
        states = read_journal(view, account_id)
    chosen = sorted({*view.account_ids, *states}) if account_id is None else [account_id]
    told = [_told(view, one, states.get(one, AccountState()), now_ms()) for one in chosen]
    if as_json:
        print(orjson.dumps({"accounts": told}).decode())
        return
    for each in told:
        print(_line(each))
    if not told:
        typer.echo("neither the settings nor the journal know an account", err=True)


def _change(account_id: str, verb: Verb, wait_s: float, as_json: bool, view: KafkaView) -> None:
    _check(account_id, view)
    with kafka_errors(view.options):
        result = tell(view, account_id, verb, {}, wait_s)
    if as_json:
        print(orjson.dumps({"account_id": account_id, "verb": verb, "result": result or "queued"}).decode())
    elif result in {None, Result.APPLIED}:
        print(f"{'queued' if result is None else 'applied'}: {verb} {account_id}")
    if result not in {None, Result.APPLIED}:
        raise Refused(f"the account's worker is of another release and did not understand `{verb}` ({result})")


def _check(account_id: str, view: KafkaView) -> None:
    if not _ACCOUNT_ID.fullmatch(account_id):
        raise typer.BadParameter("an account id is a UUID in lower case", param_hint="ACCOUNT_ID")
    if view.account_ids and account_id not in view.account_ids:
        raise typer.BadParameter("the settings have no such account", param_hint="ACCOUNT_ID")


def _told(view: KafkaView, account_id: str, state: AccountState, at_ms: int) -> dict[str, Any]:
    rows = list(rows_of({account_id: state}, account_id, ()))
    batches: dict[str, int] = {}
    for row in rows:
        batches[row.shown.value] = batches.get(row.shown.value, 0) + 1
    minted = [each.minted_at for each in state.tokens.tokens] if state.tokens else []
    cursor = state.cursor
    return {
        "account_id": account_id,
        "configured": account_id in view.account_ids,
        "state": "paused" if state.paused else "behind" if cursor and cursor.behind else "running",
        "paused": {"at": state.paused.paused_at, "by": state.paused.by} if state.paused else None,
        "cursor": {"offset": cursor.low.offset, "behind": cursor.behind} if cursor else None,
        "batches": batches,
        "intents_carried": sum(len(Packer().unpack(packed)) for packed in state.carries.values()),
        "intents_in_batches": sum(row.entry.records - len(row.entry.settled) for row in rows),
        "tokens": sum(at_ms < at + TOKEN_USE_S * 1000 for at in minted),
        **_mints(state, view.mints_per_30_min.get(account_id), at_ms),
    }


def _mints(state: AccountState, limit: int | None, at_ms: int) -> dict[str, Any]:
    """Mints of the last 30 minutes, and when the next is possible where the settings say how many there may be."""
    window_ms = round(MINT_WINDOW_S * 1000)
    recent = sorted(each for each in state.tokens.mints if each > at_ms - window_ms) if state.tokens else []
    exhausted = limit is not None and len(recent) >= limit
    return {
        "mints_30_min": len(recent),
        "mints_30_min_max": limit,
        "next_mint_at": recent[-limit] + window_ms if limit and exhausted else at_ms,
    }


def _line(told: dict[str, Any]) -> str:
    batches = ", ".join(f"{count} {state}" for state, count in sorted(told["batches"].items())) or "none"
    most = "" if told["mints_30_min_max"] is None else f" of {told['mints_30_min_max']}"
    columns = [
        told["account_id"],
        f"{told['state']:<7}",
        f"batches: {batches} ({told['intents_in_batches']} intents)",
        f"tokens: {told['tokens']}",
        f"mints: {told['mints_30_min']}{most}",
    ]
    if told["paused"]:
        columns.append(f"paused by {told['paused']['by']} at {time_of(told['paused']['at'])}")
    if not told["configured"]:
        columns.append("(not in the settings)")
    if told["intents_carried"]:
        columns.insert(3, f"carried: {told['intents_carried']} intents")
    return "  ".join(columns)
