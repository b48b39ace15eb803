"""The report of a verification for people: verdict, figures, accounts, and each anomaly with its examples."""

from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.audit.report import Report

_STYLES: Final = {"valid": "bold green", "invalid": "bold red", "unknown": "bold yellow"}
# The worst first; whoever wants all of them asks for JSON.
_ACCOUNTS_MAX: Final = 20


def print_report(report: Report, console: Console) -> None:
    """Write the report to ``console``."""
    console.print(Text.assemble("verdict ", (report.verdict, _STYLES[report.verdict])), highlight=False)
    console.print(_figures(report))
    if report.accounts:
        console.print(_accounts(report))
    for name, found in sorted(report.anomalies.items()):
        console.print(Text.assemble((str(name), "bold red"), f" {found.count:,}"), highlight=False)
        for example in found.examples:
            console.print(f"  {_told(example)}", highlight=False, markup=False, soft_wrap=True)
    for what in report.unknown:
        console.print(Text.assemble(("not known ", "bold yellow"), what), highlight=False)


def _figures(report: Report) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("intents", f"{report.intents:,}")
    for status, count in sorted(report.outcomes.items()):
        table.add_row(f"  {status}", f"{count:,}")
    for place, count in sorted(report.pending.items()):
        table.add_row(f"  pending: {place}", f"{count:,}")
    if report.skipped:
        table.add_row("  skipped by an operator", f"{report.skipped:,}")
    table.add_row("dead letters", f"{report.dead_letters:,}")
    table.add_row("possible duplicates", f"{report.possible_duplicates:,}")
    if report.applied is not None:
        table.add_row("applied, by the ledger", f"{report.applied:,}")
        table.add_row("  more than once", f"{report.applied_twice:,}")
    for name, window in (("busiest minute", "busiest_minute"), ("most mints in 30 min", "busiest_mint_window")):
        if busiest := report.budget.get(window):
            table.add_row(name, f"{busiest['requests']} of {busiest['limit']} ({busiest['who']})")
    return table


def _accounts(report: Report) -> Table:
    table = Table("account", "intents", "final", "pending", "anomalies", box=None, pad_edge=False)
    ordered = sorted(report.accounts.items(), key=lambda item: (-item[1].anomalies.total(), item[0]))
    for account_id, figures in ordered[:_ACCOUNTS_MAX]:
        counts = (figures.intents, figures.outcomes.total(), figures.pending.total(), figures.anomalies.total())
        table.add_row(account_id, *(f"{count:,}" for count in counts))
    if len(ordered) > _ACCOUNTS_MAX:
        table.add_row(f"… and {len(ordered) - _ACCOUNTS_MAX} more")
    return table


def _told(example: dict[str, Any]) -> str:
    return ", ".join(f"{name} {', '.join(told) if isinstance(told, list) else told}" for name, told in example.items())
