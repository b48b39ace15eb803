"""The command line. One file per command group; each is imported when its command is chosen, and not before.

So ``callstream --help`` answers at once, and ``callstream validate`` needs neither Kafka's nor Faust's libraries. What
must stay true: results go to standard output, everything else to standard error, and the exit codes are those of
:class:`streams.contracts.exits.ExitCode`.
"""

import importlib
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from streams import __version__
from streams.contracts.exits import OperatorError


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: where it is (``module:attribute``, a function or a Typer app) and what the overview says of it."""

    target: str
    help: str
    panel: str


TRY, OPERATE, INTEGRATE = "Try it", "Operate it", "Integrate with it"

# In the order in which somebody new needs them.
COMMANDS = {
    "demo": Entry("streams.cli.demo:demo", "Watch intents become outcomes; needs no Kafka and no account.", TRY),
    "config": Entry("streams.cli.config:config_app", "Show and check the settings, print their schema.", OPERATE),
    "topics": Entry("streams.cli.topics:topics_app", "Create the Kafka topics, or check them.", OPERATE),
    "accounts": Entry("streams.cli.accounts:accounts_app", "Show the accounts, pause and resume them.", OPERATE),
    "batches": Entry("streams.cli.batches:batches_app", "Show the open batches, resolve those in doubt.", OPERATE),
    "offsets": Entry("streams.cli.offsets:offsets_app", "Show where reading stands; decide where it goes on.", OPERATE),
    "worker": Entry("streams.cli.worker:worker", "Run a worker: intents in, batches out, outcomes back.", OPERATE),
    "verify": Entry("streams.cli.verify:verify", "Account for every intent, and for the API's budget.", OPERATE),
    "validate": Entry("streams.cli.validate:validate", "Check call intents in a file, offline.", INTEGRATE),
    "plan": Entry("streams.cli.plan:plan", "Say what would happen to intents, and send nothing.", INTEGRATE),
    "publish": Entry("streams.cli.publish:publish", "Publish call intents, synthetic or from a file.", INTEGRATE),
    "outcomes": Entry("streams.cli.outcomes:outcomes_app", "Follow what became of the intents.", INTEGRATE),
    "fake-api": Entry("streams.cli.fake_api:fake_api", "Serve a fake Truecaller API with the real limits.", INTEGRATE),
}


class _LazyGroup(TyperGroup):
    """Knows the commands by name and help alone, and imports the one that was chosen."""

    # Typer's own click is private, so its types are not named here.
    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else _load(name), rest


def _load(name: str) -> Any:
    module, _, attribute = COMMANDS[name].target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False)
        alone.command(name)(found)
        found = alone
    command = typer.main.get_command(found)
    command.name = name
    _reflow(command)
    return command


def _reflow(command: Any) -> None:
    """Let the help of a command, and of those below it, be wrapped by the terminal, not where its docstring is."""
    if command.help:
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in command.help.split("\n\n"))
    for below in getattr(command, "commands", {}).values():
        _reflow(below)


def _version(asked: bool) -> None:
    if asked:
        print(f"callstream {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Call intents from Kafka, in batches to Truecaller, outcomes back to Kafka."""


def _application() -> typer.Typer:
    # A pretty traceback would print local variables, and with them phone numbers and tokens.
    application = typer.Typer(cls=_LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False)
    application.callback()(_root)
    for name, entry in COMMANDS.items():
        application.command(name, help=entry.help, rich_help_panel=entry.panel)(_placeholder)
    return application


def _placeholder() -> None:
    """Stand for a command in the overview."""


app = _application()


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    try:
        app(prog_name="callstream")
    except OperatorError as error:
        print(_told(str(error)), file=sys.stderr)
        sys.exit(error.exit_code)


def _told(text: str) -> str:
    lines = text.splitlines() or ["stopped"]
    if len(lines) == 1:
        return f"callstream: {lines[0]}"
    return "\n".join(["callstream: several things are wrong:", *(f"  - {line}" for line in lines)])
