"""A plan for people: the verdict, what becomes of the intents, deadlines by priority, accounts, lingers, remarks."""

from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.plan.report import PRIORITIES, AccountPlan, Plan

# The worst first; whoever wants all of them asks for JSON.
_ACCOUNTS_MAX: Final = 20
_REMARKS_MAX: Final = 5

# The accounts with all their figures.
_WIDTH: Final = 132

_SECOND_S: Final = 1.0
_EXACT_S: Final = 120.0
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600


def plan_console() -> Console:
    """The console for a plan: as wide as the terminal, or wide enough for everything where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)


def print_plan(plan: Plan, console: Console) -> None:
    """Write the plan to ``console``."""
    console.print(_verdict(plan), soft_wrap=True)
    console.print()
    console.print(_figures(plan))
    if plan.accounts:
        for title, table in (
            ("deadlines", _priorities(plan)),
            ("accounts", _accounts(plan)),
            (f"lingers, over the first {plan.compared:,} valid intents", _lingers(plan)),
        ):
            console.print()
            console.print(Text(title, "bold"))
            console.print(table)
    remarks = list(plan.remarks())
    if remarks:
        console.print()
    for remark in remarks[:_REMARKS_MAX]:
        console.print(Text.assemble(("! ", "bold yellow"), remark), soft_wrap=True)
    if len(remarks) > _REMARKS_MAX:
        console.print(f"  … and {len(remarks) - _REMARKS_MAX} more")


def lasting(seconds: float | None) -> str:
    """A time span for people: ``250 ms``, ``3.2 s``, ``41 min 40 s``, ``2 h 5 min``."""
    if seconds is None:
        return "-"
    if seconds < _SECOND_S:
        return f"{round(seconds * 1000)} ms"
    if seconds < _EXACT_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"


def _verdict(plan: Plan) -> Text:
    unsent = plan.read - plan.sent
    if not plan.read:
        return Text("there are no intents", "bold yellow")
    if not unsent:
        return Text.assemble(("all would be sent", "bold green"), _when(plan))
    return Text.assemble((f"{unsent:,} of {plan.read:,} would not be sent", "bold red"), _when(plan))


def _when(plan: Plan) -> str:
    if not plan.sent:
        return ""
    drained_s = max(account.drained_s for account in plan.accounts)
    return f"; the last leaves {lasting(drained_s)} after the first has arrived"


def _figures(plan: Plan) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    table.add_row("intents", f"{plan.read:,}", f"within {lasting((plan.last_ms - plan.first_ms) / 1000)}")
    table.add_row("  sent", f"{plan.sent:,}", f"{plan.late:,} of them late" if plan.late else "")
    for said, count in (("on arrival", plan.expired_on_arrival), ("waiting", plan.expired_waiting)):
        if count:
            table.add_row(f"  expired, {said}", f"{count:,}", "")
    for code, found in sorted(plan.invalid.items(), key=lambda item: -item[1].count):
        table.add_row(
            f"  invalid: {code}", f"{found.count:,}", f"first at {found.first}: {found.message.partition(':')[0]}"
        )
    requests = plan.requests()
    table.add_row("batches", f"{plan.total('batches'):,}", _share("full", plan.total("full_batches"), plan))
    told = ", ".join(f"{count:,} {kind}" for kind, count in requests.items())
    table.add_row("requests", f"{sum(requests.values()):,}", told)
    return table


def _share(what: str, count: int, plan: Plan) -> str:
    batches = plan.total("batches")
    return f"{count:,} {what}, {plan.sent / batches:.0f} records each" if batches else ""


def _priorities(plan: Plan) -> Table:
    table = _table("priority", "sent", "late", "expired", "half within", "99 % within", "all within")
    for name in PRIORITIES:
        if name in plan.priorities:
            found = plan.priorities[name]
            spans = (lasting(seconds) for seconds in (found.p50_s, found.p99_s, found.most_s))
            table.add_row(name, f"{found.sent:,}", f"{found.late:,}", f"{found.expired:,}", *spans)
    return table


def _accounts(plan: Plan) -> Table:
    table = _table("account", "intents", "expired", "late", "batches", "requests", "a minute", "tokens", "drained")
    ordered = sorted(plan.accounts, key=lambda account: (-account.expired, -account.late, -account.drained_s))
    for account in ordered[:_ACCOUNTS_MAX]:
        table.add_row(*_cells(account))
    if len(ordered) > _ACCOUNTS_MAX:
        table.add_row(f"… and {len(ordered) - _ACCOUNTS_MAX} more")
    return table


def _cells(account: AccountPlan) -> Iterator[str]:
    yield account.account_id
    for count in (account.intents, account.expired, account.late, account.batches, sum(account.requests.values())):
        yield f"{count:,}"
    yield f"{account.busiest_minute:,}"
    needs = f", needs {account.tokens_needed}" if account.tokens_needed > account.tokens else ""
    yield f"{account.tokens} of {account.tokens_max}{needs}"
    yield lasting(account.drained_s)


def _lingers(plan: Plan) -> Table:
    table = _table("linger", "batches", "requests", "records each", "half within", "99 % within")
    for found in plan.lingers:
        spans = (lasting(found.p50_s), lasting(found.p99_s))
        each = f"{found.records_per_batch:g}"
        table.add_row(f"{found.linger_ms:,} ms", f"{found.batches:,}", f"{found.requests:,}", each, *spans)
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
