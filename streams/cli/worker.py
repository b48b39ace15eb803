"""``callstream worker``: the real thing."""

import asyncio
import faulthandler
import os

import typer

from streams import failpoint
from streams.app import create_app
from streams.cli.options import ConfigOption
from streams.contracts.exits import ExitCode
from streams.settings import Settings, load_settings
from streams.telemetry.logs import configure_logging


def worker(config: ConfigOption = None) -> None:
    """Read call intents, submit them in batches, check their statuses, publish what became of them.

    Runs until SIGTERM, then finishes the requests in flight and hands the rest over. Exit codes: 0 drained, 1 crashed
    (start it again), 2 wrong configuration, 3 a precondition is missing (topics, offsets, instance name), 70 watchdog.
    """
    # A crash in native code leaves the stacks of all threads, in which there are no values, on standard error.
    faulthandler.enable(2)
    settings = load_settings(config)
    configure_logging(settings.logging.format, settings.logging.level)
    failpoint.arm(os.environ.get(failpoint.VARIABLE, ""))
    raise typer.Exit(asyncio.run(_run(settings)))


async def _run(settings: Settings) -> ExitCode:
    return await create_app(settings).run()
