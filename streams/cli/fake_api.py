"""``callstream fake-api``: a Truecaller to test against, that keeps its limits and writes down what it saw.

Decided here: the process says when it listens with one JSON line on stdout, so that a script can wait for it, and it
ends like a service: SIGTERM is a normal end (0), Ctrl-C is an interruption (130).
"""

import asyncio
import signal
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import orjson
import typer
import yaml

from streams.contracts.exits import ExitCode, OperatorError
from streams.sandbox.fake_api import Credentials, FakeOptions, FakeTruecaller, FaultPlan, LedgerError


class Limits(StrEnum):
    """Whether the API's limits hold."""

    STRICT = "strict"
    OFF = "off"


class Labels(StrEnum):
    """Whether a record may name a label that is not the account's."""

    ANY = "any"
    STRICT = "strict"


def fake_api(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
    ledger: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="Append one JSON line per request to this file. Holds phone numbers."
        ),
    ] = None,
    limits: Annotated[
        Limits, typer.Option(help="strict: 60 requests a minute per token, 10 tokens in 30 minutes. off: neither.")
    ] = Limits.STRICT,
    status_delay_s: Annotated[
        float, typer.Option(min=0, help="Seconds until every record of a batch has its final status.")
    ] = 5.0,
    faults: Annotated[
        str, typer.Option(metavar="SPEC", help="What shall go wrong, as in 429=0.05,post.hang=0.001,retry_after=5.")
    ] = "",
    labels: Annotated[
        Labels, typer.Option(help="strict: a batch with a label that is not the account's is refused. any: none is.")
    ] = Labels.ANY,
    seed: Annotated[int, typer.Option(help="The same seed and requests give the same faults and statuses.")] = 0,
    accounts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="YAML or JSON list of {id, key_id, api_key, labels}: nobody else gets a token. Else any UUIDs do.",
        ),
    ] = None,
) -> None:
    """Run a fake Truecaller API: strict, seeded, with faults on order and a ledger of everything it saw."""
    try:
        plan = FaultPlan.parse(faults)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--faults") from None
    options = FakeOptions(
        host=host,
        port=port,
        ledger=ledger,
        limits=limits.value,
        status_delay_s=status_delay_s,
        faults=plan,
        seed=seed,
        accounts=None if accounts is None else read_accounts(accounts),
        strict_labels=labels is Labels.STRICT,
    )
    try:
        stopped_by = asyncio.run(_serve(options))
    except OSError as error:
        raise OperatorError(f"the fake API cannot run: {_told(error, options)}") from None
    raise typer.Exit(ExitCode.INTERRUPTED if stopped_by is signal.SIGINT else ExitCode.DONE)


def read_accounts(path: Path) -> Mapping[str, Credentials]:
    """Read a list of ``{id, key_id, api_key, labels}``, or a mapping with one under ``accounts``, as the settings have.

    Raises:
        OperatorError: the file is something else; the text names the entry, never a key.
    """
    try:
        content: Any = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise OperatorError(f"{path}: not YAML or JSON") from None
    entries = content.get("accounts") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise OperatorError(f"{path}: must be a list of {{id, key_id, api_key}}")
    return dict(_account(path, number, entry) for number, entry in enumerate(entries, 1))


def _account(path: Path, number: int, entry: object) -> tuple[str, Credentials]:
    if not isinstance(entry, dict):
        raise OperatorError(f"{path}: account {number} must be a mapping with id, key_id, api_key")
    for name in ("id", "key_id", "api_key"):
        if not isinstance(entry.get(name), str):
            raise OperatorError(f"{path}: account {number}: {name} must be a text")
    try:
        account_id = str(UUID(entry["id"]))
    except ValueError:
        raise OperatorError(f"{path}: account {number}: id must be a UUID") from None
    return account_id, Credentials(entry["key_id"], entry["api_key"], _labels(path, number, entry.get("labels")))


def _labels(path: Path, number: int, given: object) -> tuple[str, ...] | None:
    """The label ids of an account. The word of the settings of the same name says nothing here."""
    if given is None or isinstance(given, str | bool):
        return None
    try:
        return tuple(str(UUID(label_id)) for label_id in given)  # type: ignore[attr-defined]  # whatever it is
    except (TypeError, ValueError, AttributeError):
        raise OperatorError(f"{path}: account {number}: labels must be a list of UUIDs") from None


def _told(error: OSError, options: FakeOptions) -> str:
    if isinstance(error, LedgerError):
        return f"--ledger {options.ledger}: {error.strerror}"
    return f"--host {options.host} --port {options.port}: {error.strerror or error}"


def _stop_once(stop: asyncio.Future[signal.Signals], number: signal.Signals) -> None:
    if not stop.done():
        stop.set_result(number)


def _fail_once(stop: asyncio.Future[signal.Signals], failing: asyncio.Task[LedgerError]) -> None:
    if not (stop.done() or failing.cancelled()):
        stop.set_exception(failing.result())


async def _serve(options: FakeOptions) -> signal.Signals:
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[signal.Signals] = loop.create_future()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stop_once, stop, number)
    fake = FakeTruecaller(options)
    try:
        url = await fake.start()
        ready = {"event": "fake_api_ready", "url": url, "limits": options.limits, "ledger": str(options.ledger or "")}
        sys.stdout.write(orjson.dumps(ready).decode() + "\n")
        sys.stdout.flush()
        loop.create_task(fake.failed()).add_done_callback(lambda failing: _fail_once(stop, failing))
        return await stop
    finally:
        await fake.stop()
