"""``callstream batches``: the open batches, and what an operator says became of those in doubt.

Decided here: what is refused before anything is sent. The journal is read first, so that a batch which is not in doubt
is refused with the reason and the next step; the owner decides again when it applies the command, since things may have
moved on.
"""

from typing import Annotated, NamedTuple

import orjson
import typer

from streams.cli.batch_rows import BatchRow, Shown, line_of, rows_of, time_of, told_of, with_intents
from streams.cli.journal import Refused, WaitOption, read_journal, tell
from streams.cli.kafka import KafkaView, kafka_errors, kafka_view
from streams.cli.options import BootstrapOption, ConfigOption, JsonOption
from streams.contracts.batch_id import is_batch_id
from streams.contracts.command import Result, Verb
from streams.lane.doubt import holds

batches_app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Show the open batches, resolve those in doubt."
)

RefArgument = Annotated[str, typer.Argument(metavar="REF", help="callstream's name of the batch: batch_ref.")]
AccountOption = Annotated[
    str | None, typer.Option(help="The batch's account: then only its partition is read.", show_default=False)
]


@batches_app.callback()
def _batches() -> None:
    """Show the open batches, resolve those in doubt."""


@batches_app.command("list")
def list_batches(
    *,
    account: Annotated[str | None, typer.Option(help="Only this account.", show_default=False)] = None,
    state: Annotated[
        list[Shown] | None,
        typer.Option(
            metavar="STATE", help=f"Only these: {', '.join(Shown)}; may be given more than once.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """List the batches that are not final, oldest first, as the journal has them.

    unresolved: an operator has to decide. ambiguous: may have been applied, is sent again by itself. open: its answer
    is waited for. unsent: waits for its next attempt. suspect: a part of a batch that the API refused as a whole, waits
    likewise. accepted: its statuses are waited for.
    """
    view = kafka_view(config, bootstrap_servers)
    with kafka_errors(view.options):
        states = read_journal(view, account)
    rows = list(rows_of(states, account, state or ()))
    if as_json:
        print(orjson.dumps({"batches": [told_of(row) for row in rows]}).decode())
        return
    for row in rows:
        print(line_of(row))
    if not rows:
        typer.echo("no such batch is open" if account or state else "no batch is open", err=True)


@batches_app.command()
def show(
    ref: RefArgument,
    *,
    account: AccountOption = None,
    as_json: JsonOption = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Show one open batch with its attempts and the intents that wait for it. Exits with 3 if it is not open."""
    view = kafka_view(config, bootstrap_servers)
    row = _found(view, ref, account)
    if as_json:
        print(orjson.dumps(with_intents(row)).decode())
        return
    print(_told(row))


@batches_app.command()
def resolve(
    ref: RefArgument,
    *,
    accepted: Annotated[
        str | None,
        typer.Option(metavar="BATCH_ID", help="The API took it, under this name.", show_default=False),
    ] = None,
    resend: Annotated[bool, typer.Option("--resend", help="Send it again; it may be applied twice.")] = False,
    give_up: Annotated[bool, typer.Option("--give-up", help="Nobody will know: its intents end as unknown.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    account: AccountOption = None,
    wait_s: WaitOption = 30.0,
    as_json: JsonOption = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Say what became of a batch in doubt: exactly one of --accepted BATCH_ID, --resend, --give-up.

    Exits with 0 once a worker has applied it, 1 if none has within --wait-s (it stays queued), 2 for wrong options, 3
    if the batch is not in doubt.
    """
    decision = _decision(accepted, resend=resend, give_up=give_up)
    view = kafka_view(config, bootstrap_servers)
    row = _found(view, ref, account)
    _refuse_what_is_not_in_doubt(row, decision)
    if not yes:
        typer.echo(_told(row), err=True)
        typer.confirm(f"{decision.says} Go on?", abort=True, err=True)
    arguments = {"batch_ref": ref, **({} if accepted is None else {"batch_id": accepted})}
    with kafka_errors(view.options):
        result = tell(view, row.entry.account_id, decision.verb, arguments, wait_s)
    _report(ref, decision, result, as_json=as_json)


class Decision(NamedTuple):
    """What an operator decided, and that in words."""

    verb: Verb
    says: str


def _decision(accepted: str | None, *, resend: bool, give_up: bool) -> Decision:
    if (accepted is not None) + resend + give_up != 1:
        raise typer.BadParameter("give exactly one of --accepted BATCH_ID, --resend and --give-up")
    if resend:
        return Decision(Verb.RESEND, "It will be sent again, and may then be applied twice.")
    if give_up:
        return Decision(Verb.GIVE_UP, "Its intents will end as unknown. That is final.")
    if not is_batch_id(accepted or ""):
        raise typer.BadParameter("a batch id has 1 to 128 letters, digits, - and _", param_hint="--accepted")
    return Decision(Verb.ACCEPT, f"Its intents will be called accepted, as the API's batch {accepted}.")


def _found(view: KafkaView, ref: str, account: str | None) -> BatchRow:
    with kafka_errors(view.options):
        states = read_journal(view, account)
    row = next((row for row in rows_of(states, None, ()) if row.ref == ref), None)
    if row is None:
        where = "" if account is None else " in the partition of that account"
        raise Refused(
            f"no batch {ref} is open{where}: it is final, and the outcomes topic says how it ended, "
            "or it never existed; `callstream batches list` shows those that are open"
        )
    return row


_NOT_IN_DOUBT = {
    Shown.OPEN: "its answer is waited for, or its owner has just died: look again in a minute",
    Shown.ACCEPTED: "the API accepted it, its statuses follow by themselves",
    Shown.UNSENT: "it was certainly not applied and is sent by itself",
    Shown.SUSPECT: "the API refused it as a part of a larger batch, and it is sent by itself",
}


def _refuse_what_is_not_in_doubt(row: BatchRow, decision: Decision) -> None:
    if not row.in_doubt:
        raise Refused(f"batch {row.ref} is not in doubt but {row.shown}: {_NOT_IN_DOUBT[row.shown]}")
    if decision.verb is Verb.RESEND and not (row.shown is Shown.UNRESOLVED and holds(row.entry.policy)):
        raise Refused(
            f"batch {row.ref} is {row.shown} and is sent again by itself; --accepted and --give-up can still end that"
        )


def _told(row: BatchRow) -> str:
    entry, waiting = row.entry, row.unsettled()
    ends = [one.row.ends_at for one in waiting]
    attempts = ", ".join(f"{each.number} at {time_of(each.opened_at)}" for each in entry.attempts) or "none"
    lines = {
        "batch": row.ref,
        "account": entry.account_id,
        "state": f"{row.shown} (policy {entry.policy})",
        "intents": f"{len(waiting)} of {entry.records} without a final outcome",
        "calls end": f"{time_of(min(ends))} to {time_of(max(ends))}",
        "attempts": attempts,
        "batch id": entry.batch_id or "not known",
    }
    if entry.part_of:
        lines["part of"] = f"{entry.part_of}, which the API refused as a whole"
    return "\n".join(f"{name:<10} {text}" for name, text in lines.items())


_RESULTS: dict[str | None, str] = {
    None: "queued",
    Result.APPLIED: "applied",
    Result.ALREADY_APPLIED: "applied before",
}


def _report(ref: str, decision: Decision, result: str | None, *, as_json: bool) -> None:
    if as_json:
        print(orjson.dumps({"batch_ref": ref, "verb": decision.verb, "result": result or "queued"}).decode())
    elif result in _RESULTS:
        print(f"{_RESULTS[result]}: {decision.verb} {ref}")
    if result not in _RESULTS:
        raise Refused(
            f"batch {ref} moved on before the command reached it ({result}): nothing was changed; "
            "look at it again with `callstream batches show`"
        )
