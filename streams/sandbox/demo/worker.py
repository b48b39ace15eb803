"""The demo's worker: a process of its own, configured and started as an operator would.

In a session of its own, so that Ctrl-C at the terminal reaches only the demo, which then lets the worker finish.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from streams.kafka.embedded import CLIENT_PROPERTIES
from streams.sandbox.accounts import SyntheticAccount

COMMAND: Final = (sys.executable, "-m", "streams", "worker")
"""How a worker is started, but for its configuration."""

GRACE_S: Final = 90.0
"""How long a worker may take to finish what it has begun."""

_LOG_LINES: Final = 25


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What the worker is to be configured with."""

    bootstrap_servers: str
    partitions: int
    base_url: str
    accounts: Sequence[SyntheticAccount]
    metrics_port: int

    @property
    def metrics_url(self) -> str:
        """Where the worker serves its metrics."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    def settings(self) -> dict[str, Any]:
        """Return the worker's settings, as its configuration file has them."""
        return {
            "kafka": {
                "bootstrap_servers": self.bootstrap_servers,
                "group_id": "callstream-demo",
                "instance": "demo",
                "partitions": self.partitions,
                "extra": dict(CLIENT_PROPERTIES),
            },
            "api": {"base_url": self.base_url},
            "accounts": [
                {"id": account.id, "key_id": account.key_id, "api_key": account.api_key} for account in self.accounts
            ],
            "metrics": {"host": "127.0.0.1", "port": self.metrics_port},
            "logging": {"format": "json", "level": "info"},
        }


class Worker:
    """A running ``callstream worker``. Its files are in ``folder``: the configuration and the log."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, plan: WorkerPlan, folder: Path) -> "Worker":
        """Start it; it runs until :meth:`stop`, or until it fails."""
        config, log = folder / "callstream.yaml", folder / "worker.log"
        config.write_text(yaml.safe_dump(plan.settings(), sort_keys=False), encoding="utf-8")
        config.chmod(0o600)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("CALLSTREAM_")}
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(*COMMAND, "--config", str(config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                env=environ,
                start_new_session=True,
            )
        return cls(process, log)

    @property
    def exit_code(self) -> int | None:
        """How it ended, or ``None`` while it runs."""
        return self._process.returncode

    async def ended(self) -> int:
        """Wait until it has ended, by itself or not."""
        return await self._process.wait()

    async def stop(self) -> int:
        """Ask it to finish; after :data:`GRACE_S` end it. Returns its exit code."""
        if self.exit_code is None:
            self._process.terminate()
        try:
            return await asyncio.wait_for(self._process.wait(), GRACE_S)
        except TimeoutError:
            self.kill()
            return await self._process.wait()

    def kill(self) -> None:
        """End it at once, with what it may have started."""
        if self.exit_code is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """Return the end of its log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
