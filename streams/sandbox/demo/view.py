"""The demo's picture drawn with Rich: one frame, the same height throughout, for terminals of 100 columns or more.

Narrower ones lose the list of recent batches.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from rich import box
from rich.align import Align
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from streams.contracts.outcome import Status
from streams.sandbox.demo.picture import AccountRow, Phase, Picture
from streams.sandbox.demo.requests import RecentBatch

_SPARKS: Final = "▁▂▃▄▅▆▇█"
_STATUS_STYLES: Final = {
    Status.DELIVERED: "green",
    Status.FAILED: "red",
    Status.INVALID: "red",
    Status.REJECTED: "red",
    Status.EXPIRED: "magenta",
    Status.UNKNOWN: "yellow",
}
_PHASE_STYLES: Final = {
    Phase.STARTING: "yellow",
    Phase.DIALING: "green",
    Phase.HELD_BACK: "yellow",
    Phase.SETTLING: "cyan",
    Phase.DRAINING: "cyan",
    Phase.DONE: "bold green",
}
_WIDE: Final = 100
_BUDGET_BAR: Final = 24
_STATUS_BAR: Final = 12
_SPARK: Final = 12
_REASON_ROWS: Final = 6
_BATCH_ROWS: Final = 6
ACCOUNT_ROWS_MAX: Final = 10


def draw(picture: Picture, width: int) -> RenderableType:
    """Return the whole frame for a terminal of ``width`` columns."""
    body = Group(
        _flow(picture),
        Rule(style="bright_black"),
        _accounts(picture.accounts, wide=width >= _WIDE),
        Rule(style="bright_black"),
        _lower(picture, wide=width >= _WIDE),
    )
    return Panel(
        body, box=box.ROUNDED, border_style="blue", title=_title(picture), subtitle=_subtitle(picture), padding=(0, 1)
    )


def _title(picture: Picture) -> Text:
    style = _PHASE_STYLES[picture.phase]
    text = Text.assemble((" callstream demo ", "bold"), ("· ", "dim"), (f"● {picture.phase}", style), "  ")
    dialing = picture.phase in {Phase.DIALING, Phase.HELD_BACK}
    text.append(clock(picture.elapsed_s) + (f" of {clock(picture.duration_s)} " if dialing else " "), "dim")
    return text


def _subtitle(picture: Picture) -> Text | None:
    if picture.phase is Phase.DONE:
        return None
    end = "all final" if picture.eta_s == 0 else f"all final in about {clock(picture.eta_s)}" if picture.eta_s else ""
    return Text.assemble(
        (f" {end} " if end else "", "bold"), (f" metrics {picture.metrics_url}  Ctrl-C ends it ", "dim")
    )


def _flow(picture: Picture) -> RenderableType:
    """The way of an intent, left to right, with how many are where."""
    table = Table(box=None, expand=True, padding=(0, 1), show_header=False)
    stations = (
        ("intents in", picture.published, "bold", _spark(picture.intake, "cyan")),
        ("unread", picture.unread, "white", Text("in Kafka", "dim")),
        ("waiting", picture.waiting, "yellow", Text("for a slot", "dim")),
        ("accepted", picture.accepted, "cyan", Text("for a status", "dim")),
        ("final", picture.finals, "bold green", _spark(picture.settled, "green")),
        ("dead letters", sum(picture.dead_letters.values()), "red", Text("with reason", "dim")),
    )
    for _ in stations:
        table.add_column(justify="center", ratio=1, no_wrap=True)
    table.add_row(*(Text(name, "dim") for name, *_ in stations))
    table.add_row(*(Text(f"{count:,}", style) for _, count, style, _ in stations))
    table.add_row(*(below for *_, below in stations))
    return table


def _accounts(rows: Sequence[AccountRow], *, wide: bool) -> RenderableType:
    table = Table(box=None, expand=True, padding=(0, 1), header_style="dim")
    table.add_column("account", no_wrap=True)
    for name in ("waiting", "accepted", "batches"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("requests in the last minute" if wide else "requests/min", no_wrap=True)
    table.add_column("delivered", justify="right", style="green", no_wrap=True)
    table.add_column("failed", justify="right", style="red", no_wrap=True)
    for row in rows[:ACCOUNT_ROWS_MAX]:
        counts = (row.waiting, row.open, row.batches)
        ends = (row.final.get(Status.DELIVERED, 0), row.final.get(Status.FAILED, 0))
        budget = _budget(row, _BUDGET_BAR if wide else _BUDGET_BAR // 4)
        table.add_row(row.account_id[:8], *(f"{n:,}" for n in counts), budget, *(f"{n:,}" for n in ends))
    if len(rows) > ACCOUNT_ROWS_MAX:
        table.add_row(Text(f"+ {len(rows) - ACCOUNT_ROWS_MAX} more", "dim"))
    return table


def _budget(row: AccountRow, width: int) -> Text:
    share = row.slots_used / row.slots
    style = "cyan" if share < 1 else "yellow"
    return Text.assemble(_bar(share, width, style), f" {row.slots_used:>3}/{row.slots}")


def _lower(picture: Picture, *, wide: bool) -> RenderableType:
    parts = [_outcomes(picture.final), _dead_letters(picture.dead_letters), *([_batches(picture)] if wide else [])]
    table = Table(box=None, expand=True, padding=(0, 1), show_header=False)
    for _ in parts:
        table.add_column(no_wrap=True)
    table.add_row(*parts)
    return table


def _outcomes(final: Mapping[str, int]) -> RenderableType:
    total = sum(final.values())
    lines = Table.grid(padding=(0, 1))
    for status, style in _STATUS_STYLES.items():
        count = final.get(status, 0)
        share = count / total if total else 0.0
        lines.add_row(
            Text(status, style if count else "dim"),
            Align.right(Text(f"{count:,}", "" if count else "dim"), width=8),
            _bar(share, _STATUS_BAR, style),
        )
    return Group(Text("outcomes", "dim"), lines)


def _dead_letters(reasons: Mapping[str, int]) -> RenderableType:
    lines = Table.grid(padding=(0, 1))
    ordered = sorted(reasons.items(), key=lambda item: -item[1])
    for reason, count in ordered[:_REASON_ROWS]:
        lines.add_row(Align.right(Text(f"{count:,}"), width=5), Text(reason, "red"))
    for _ in range(_REASON_ROWS - len(ordered)):
        lines.add_row("", "")
    return Group(Text("dead letters by reason", "dim"), lines)


def _batches(picture: Picture) -> RenderableType:
    lines = Table.grid(padding=(0, 1))
    for batch in reversed(picture.recent[-_BATCH_ROWS:]):
        lines.add_row(*_batch(batch))
    for _ in range(_BATCH_ROWS - len(picture.recent)):
        lines.add_row("", "", "", "")
    posts, checks = picture.requests.get("post", 0), picture.requests.get("check", 0)
    told = f"{picture.batches:,} batches, {posts:,} POST, {checks:,} GET, {picture.http_429:,} throttled"
    return Group(Text(told, "dim"), lines)


def _batch(batch: RecentBatch) -> tuple[Text, ...]:
    at = datetime.fromtimestamp(batch.at_s, UTC).astimezone().strftime("%H:%M:%S")
    applied = batch.records is not None
    what = Text(f"{batch.records:>3} records", "green") if applied else Text("not applied", "yellow")
    answer = Text(str(batch.status or batch.fault), "dim" if applied else "yellow")
    return Text(at, "dim"), Text(batch.account_id[:8]), what, answer


def _bar(share: float, width: int, style: str) -> Text:
    filled = min(width, max(1, round(share * width))) if share > 0 else 0
    return Text.assemble(("━" * filled, style), ("━" * (width - filled), "bright_black"))


def _spark(values: Sequence[int], style: str) -> Text:
    shown = values[-_SPARK:]
    top = max(shown, default=0) or 1
    return Text("".join(_SPARKS[round(value / top * (len(_SPARKS) - 1))] for value in shown), style)


def clock(seconds: float) -> str:
    """Return minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
