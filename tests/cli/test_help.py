"""The way in: help, version, typing errors, exit codes."""

import importlib
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from streams import __version__, cli
from streams.contracts.exits import ExitCode, OperatorError

HEAVY = ("aiohttp", "confluent_kafka", "faust", "httpx", "mode", "prometheus_client", "pydantic", "structlog")


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")

    def invoke(*arguments: str):
        return CliRunner().invoke(cli.app, list(arguments), prog_name="callstream")

    return invoke


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted(sys.modules), file=sys.__stdout__)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True)
    return {name.partition(".")[0] for name in ran.stdout.splitlines()[-1].split()}


def call(*arguments: str) -> str:
    return (
        "import contextlib, io, sys\nfrom streams.cli import main\n"
        f"sys.argv = {['callstream', *arguments]!r}\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main()"
    )


def test_help_lists_every_command_in_the_order_of_a_users_way(run):
    text = run("--help").output

    places = [text.index(f"│ {name} ") for name in cli.COMMANDS]
    assert places == sorted(places)
    for entry in cli.COMMANDS.values():
        assert entry.help in text


def test_no_arguments_are_a_question_for_help(run):
    assert "Operate it" in run().output


def test_the_help_of_a_command_is_wrapped_by_the_terminal(run, monkeypatch):
    """Not where its docstring is: on a wide terminal a paragraph is one line."""
    monkeypatch.setenv("COLUMNS", "500")
    (line,) = [line for line in run("batches", "list", "--help").output.splitlines() if "unresolved: an" in line]
    assert line.rstrip().endswith("accepted: its statuses are waited for.")


def test_help_imports_nothing_that_is_slow():
    assert modules_after(call("--help")) & set(HEAVY) == set()


@pytest.mark.parametrize("arguments", [("config", "schema"), ("config", "--help")])
def test_config_needs_no_kafka_library(arguments):
    assert modules_after(call(*arguments)) & {"confluent_kafka", "faust", "mode", "aiohttp", "httpx"} == set()


def test_version(run):
    assert run("--version").output == f"callstream {__version__}\n"


MISTYPED = [
    pytest.param(("wroker",), "Did you mean 'worker'?", id="command"),
    pytest.param(("config", "chekc"), "Did you mean 'check'?", id="command of a group"),
    pytest.param(("config", "show", "--jsn"), "--json", id="option"),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTYPED)
def test_a_typing_error_suggests_what_is_near_and_ends_with_2(run, arguments, expected):
    result = run(*arguments)

    assert result.exit_code == ExitCode.USAGE
    assert expected in result.output


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_where_the_table_says_and_explains_itself(run, name):
    module, _, attribute = cli.COMMANDS[name].target.partition(":")
    assert getattr(importlib.import_module(module), attribute)

    result = run(name, "--help")

    assert result.exit_code == 0, result.output
    assert f"callstream {name}" in result.output


class InstanceTaken(OperatorError):
    exit_code = ExitCode.PRECONDITION


ENDS = [
    pytest.param(None, 0, "", id="done"),
    pytest.param(KeyboardInterrupt(), 130, "", id="interrupted"),
    pytest.param(OperatorError("a: is wrong; mend it"), 2, "callstream: a: is wrong; mend it\n", id="one problem"),
    pytest.param(OperatorError("a\nb"), 2, "callstream: several things are wrong:\n  - a\n  - b\n", id="two problems"),
    pytest.param(InstanceTaken("taken"), 3, "callstream: taken\n", id="precondition"),
    pytest.param(typer.Exit(70), 70, "", id="own code"),
]


@pytest.mark.parametrize(("raised", "code", "told"), ENDS)
def test_main_ends_with_the_promised_code_and_no_traceback(monkeypatch, capsys, raised, code, told):
    def command() -> None:
        if raised is not None:
            raise raised

    monkeypatch.setattr(cli, "_load", lambda _name: typer.main.get_command(_alone(command)))
    monkeypatch.setattr(sys, "argv", ["callstream", "worker"])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == code
    assert capsys.readouterr().err == told


def test_a_bug_of_ours_is_not_hidden(monkeypatch):
    def command() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_load", lambda _name: typer.main.get_command(_alone(command)))
    monkeypatch.setattr(sys, "argv", ["callstream", "worker"])

    with pytest.raises(ZeroDivisionError):
        cli.main()


def _alone(command) -> typer.Typer:
    application = typer.Typer(add_completion=False)
    application.command()(command)
    return application
