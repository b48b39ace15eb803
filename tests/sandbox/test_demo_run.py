"""The demo as a whole: with the real worker, and with workers that fail it."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import orjson
import pytest

from streams.contracts.exits import ExitCode
from streams.sandbox.accounts import synthetic_accounts
from streams.sandbox.demo import worker
from streams.sandbox.demo.picture import Phase, Picture
from streams.sandbox.demo.show import DemoOptions, Ending, run_demo
from streams.sandbox.demo.worker import Worker, WorkerPlan
from streams.sandbox.fake_api import FaultPlan
from streams.settings import load_settings

OPTIONS: dict[str, Any] = {
    "rate": 100.0,
    "accounts": 2,
    "seed": 7,
    "duration_s": 0.5,
    "settle_s": 0.5,
    "bad_share": 0.1,
    "faults": FaultPlan(),
}
READY = """
import http.server, signal, sys, yaml
signal.signal(signal.SIGTERM, {on_sigterm})
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
with open(sys.argv[-1]) as config:
    port = yaml.safe_load(config)["metrics"]["port"]
http.server.HTTPServer(("127.0.0.1", port), Ready).serve_forever()
"""
IDLE = READY.format(on_sigterm="lambda *_: sys.exit(0)")
DEAF = READY.format(on_sigterm="signal.SIG_IGN")


class Pictures:
    """A screen that keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[Picture] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, picture: Picture) -> None:
        self.shown.append(picture)

    @property
    def phases(self) -> list[Phase]:
        return list(dict.fromkeys(picture.phase for picture in self.shown))


def run(monkeypatch: pytest.MonkeyPatch, program: str, screen: Any = None, **options: Any) -> Ending:
    """Run the demo in this process with a worker that is only this program."""
    monkeypatch.setattr(worker, "COMMAND", (sys.executable, "-c", program))
    return asyncio.run(run_demo(DemoOptions(**{**OPTIONS, **options}), screen or Pictures()))


def test_what_nobody_works_on_is_pending_and_fails_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Pictures()
    summary, log = run(monkeypatch, IDLE, screen)
    assert (summary.published, summary.pending, summary.unaccounted) == (50, 50, 0)
    assert (summary.final, summary.batches, summary.worker_exit) == ({}, 0, 0)
    assert summary.exit_code is ExitCode.CRASH
    assert log == ""
    assert screen.phases[-1] is Phase.DONE
    assert screen.shown[-1].unread == 50


@pytest.mark.slow
def test_a_worker_that_fails_ends_the_demo_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    summary, log = run(monkeypatch, "print('out of luck'); exit(7)", duration_s=60.0, settle_s=60.0)
    assert summary.worker_exit == 7
    assert summary.exit_code is ExitCode.CRASH
    assert log == "out of luck"


@pytest.mark.slow
def test_a_worker_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "GRACE_S", 0.2)
    summary, _ = run(monkeypatch, DEAF, settle_s=0.0)
    assert summary.worker_exit == -signal.SIGKILL


@pytest.mark.slow
def test_the_dialer_waits_while_too_much_is_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.sandbox.demo.holdback.UNREAD_BYTES_MAX", 4 * 440)
    screen = Pictures()
    summary, _ = run(monkeypatch, IDLE, screen, rate=2000.0, duration_s=1.0, settle_s=0.0)
    assert Phase.HELD_BACK in screen.phases
    assert summary.published < 500


@pytest.mark.slow
def test_the_first_interrupt_lets_the_worker_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting(Pictures):
        def show(self, picture: Picture) -> None:
            super().show(picture)
            if picture.published and picture.phase is Phase.DIALING:
                os.kill(os.getpid(), signal.SIGINT)

    summary, _ = run(monkeypatch, IDLE, Interrupting(), duration_s=60.0, settle_s=60.0)
    assert (summary.exit_code, summary.worker_exit) == (ExitCode.INTERRUPTED, 0)
    assert summary.pending == summary.published > 0


@pytest.mark.slow
def test_the_next_interrupt_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(Pictures):
        def show(self, picture: Picture) -> None:
            super().show(picture)
            if picture.phase in {Phase.DIALING, Phase.DRAINING}:
                os.kill(os.getpid(), signal.SIGINT)

    summary, _ = run(monkeypatch, DEAF, Impatient(), duration_s=60.0)
    assert (summary.exit_code, summary.worker_exit) == (ExitCode.INTERRUPTED, -signal.SIGKILL)


def test_the_worker_is_configured_as_an_operator_would(tmp_path: Path) -> None:
    accounts = synthetic_accounts(3, seed=1)
    plan = WorkerPlan("127.0.0.1:9092", 16, "http://127.0.0.1:8080", accounts, 9464)
    config = tmp_path / "callstream.yaml"
    config.write_bytes(orjson.dumps(plan.settings()))
    settings = load_settings(config, {})
    assert [account.id for account in settings.accounts] == [account.id for account in accounts]
    assert (settings.kafka.partitions, settings.metrics.host) == (16, "127.0.0.1")


async def test_the_worker_s_configuration_is_nobody_else_s_to_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker, "COMMAND", (sys.executable, "-c", "import os; print(sorted(os.environ))"))
    monkeypatch.setenv("CALLSTREAM_KAFKA__GROUP_ID", "the users own")
    started = await Worker.start(WorkerPlan("127.0.0.1:1", 1, "http://127.0.0.1:1", synthetic_accounts(1), 1), tmp_path)
    assert await started.ended() == 0
    assert (tmp_path / "callstream.yaml").stat().st_mode & 0o777 == 0o600
    assert "CALLSTREAM" not in started.last_words()


def demo(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "streams", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_intent_becomes_final_with_the_real_worker(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.ndjson"
    arguments = (
        "--duration",
        "2",
        "--rate",
        "300",
        "--accounts",
        "3",
        "--seed",
        "7",
        "--ledger",
        str(ledger),
        "--json",
    )
    with demo(*arguments) as process:
        stdout, stderr = process.communicate(timeout=110)
    assert process.returncode == 0, stderr.decode()
    summary = orjson.loads(stdout)
    assert stdout.count(b"\n") == 1
    assert summary["published"] == 600
    assert sum(summary["final"].values()) == 600
    assert (summary["pending"], summary["unaccounted"], summary["final_twice"]) == (0, 0, 0)
    assert (summary["over_limit_requests"], summary["mixed_batches"], summary["applied_twice"]) == (0, 0, 0)
    assert summary["final"]["invalid"] == summary["dead_letters"] > 0
    assert summary["records"] == 600 - summary["dead_letters"]
    assert 0 < summary["batch_records_max"] <= 500
    assert ledger.read_bytes().count(b'"kind":"post"') >= summary["batches"]
    assert b"dialing" in stderr


@pytest.mark.slow
def test_a_spec_that_is_not_understood_is_refused() -> None:
    with demo("--faults", "gremlins=1") as process:
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 2
    assert b"gremlins" in stderr


@pytest.mark.slow
def test_a_ledger_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with demo("--ledger", str(tmp_path / "no" / "ledger.ndjson")) as process:
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 2
    assert b"the demo cannot start" in stderr
