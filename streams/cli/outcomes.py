"""``callstream outcomes tail``: watch what becomes of intents, as lines for people or as NDJSON for programs.

Reads as every consumer of outcomes should (``read_committed``), but in no group: watching takes nothing away from
anybody and commits nothing.
"""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
import typer
from confluent_kafka import Message
from rich.console import Console

from streams.cli.interrupt import Interrupt
from streams.cli.kafka import kafka_errors, kafka_view
from streams.cli.options import BootstrapOption, ConfigOption
from streams.cli.outcome_line import outcome_line
from streams.contracts.exits import ExitCode
from streams.contracts.outcome import Status
from streams.kafka.client_config import reader_config
from streams.kafka.follow import Follower

outcomes_app = typer.Typer(add_completion=False, no_args_is_help=True, help="Look at what became of intents.")

_WAIT_S = 0.2


@outcomes_app.callback()
def _outcomes() -> None:
    """Look at what became of intents."""


@outcomes_app.command()
def tail(
    *,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Show what is in the topic already, too.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many lines.", show_default=False)] = None,
    account: Annotated[
        list[str] | None, typer.Option(help="Only this account; may be given more than once.", show_default=False)
    ] = None,
    status: Annotated[
        list[Status] | None,
        typer.Option(
            metavar="STATUS",
            help=f"Only intents with this status: {', '.join(Status)}; may be given more than once.",
            show_default=False,
        ),
    ] = None,
    until_idle_s: Annotated[
        float | None,
        typer.Option(min=0, help="End when nothing has come for so many seconds.", show_default=False),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each message as it is, one JSON object a line.")
    ] = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Print outcomes as they come, until Ctrl-C; from now on, or from the beginning of the topic.

    Exits with 0 after --limit, --until-idle-s or SIGTERM, 3 without the topic, 130 after Ctrl-C.
    """
    view = kafka_view(config, bootstrap_servers)
    wanted = Wanted(frozenset(account or ()), frozenset(status or ()))
    shown = Shown(as_json=as_json, limit=limit)
    reader = reader_config(view.options) | {"log_level": 0}
    with (
        kafka_errors(view.options),
        Interrupt() as interrupt,
        Follower(reader, [view.topics.outcomes], from_beginning=from_beginning) as follower,
    ):
        try:
            _follow(follower, wanted, shown, interrupt, until_idle_s)
        except BrokenPipeError:
            _mute_stdout()
    if shown.unreadable:
        typer.echo(f"{shown.unreadable} messages were no JSON objects and are not shown", err=True)
    if interrupt.by_user:
        raise typer.Exit(ExitCode.INTERRUPTED)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages to show; an empty set means all."""

    accounts: frozenset[str]
    statuses: frozenset[str]

    def __call__(self, event: dict[str, Any]) -> bool:
        """Whether to show it. Batch events have no status and are not shown where statuses are asked for."""
        return (not self.accounts or event.get("account_id") in self.accounts) and (
            not self.statuses or event.get("status") in self.statuses
        )


class Shown:
    """Write what is wanted to stdout, up to ``limit`` lines."""

    def __init__(self, *, as_json: bool, limit: int | None) -> None:
        console = Console()
        self._as_json = as_json
        self._left = limit
        self._color = console.is_terminal and not console.no_color
        self.unreadable = 0

    def show(self, messages: list[Message], wanted: Wanted) -> bool:
        """Write the wanted ones of ``messages``; return whether there may be more."""
        lines: list[bytes] = []
        for value, event in self._readable(messages):
            if self._left is not None and len(lines) >= self._left:
                break
            if wanted(event):
                lines.append(value if self._as_json else outcome_line(event, color=self._color).encode())
        if lines:
            sys.stdout.buffer.write(b"\n".join(lines) + b"\n")
            sys.stdout.buffer.flush()
        if self._left is None:
            return True
        self._left -= len(lines)
        return self._left > 0

    def _readable(self, messages: list[Message]) -> Iterator[tuple[bytes, dict[str, Any]]]:
        for message in messages:
            value = message.value() or b""
            try:
                event = orjson.loads(value)
            except orjson.JSONDecodeError:
                event = None
            if isinstance(event, dict):
                yield value, event
            else:
                self.unreadable += 1


def _follow(follower: Follower, wanted: Wanted, shown: Shown, interrupt: Interrupt, until_idle_s: float | None) -> None:
    came_s = time.monotonic()
    while not interrupt:
        messages = follower.read(_WAIT_S)
        now_s = time.monotonic()
        if messages:
            came_s = now_s
            if not shown.show(messages, wanted):
                return
        elif until_idle_s is not None and now_s - came_s >= until_idle_s:
            return


def _mute_stdout() -> None:
    """Whoever read our output has what they wanted; the interpreter must not complain when it flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
