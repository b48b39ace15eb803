"""The end of a worker process: one line about it, and a bound on it."""

import asyncio
import threading
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from streams.worker import process as module
from streams.worker.draining import GivenUp, bound_the_end
from streams.worker.process import WorkerProcess


@pytest.fixture
def ends(monkeypatch):
    """How the process was ended, call by call."""
    calls: list[tuple[int, str]] = []
    monkeypatch.setattr(module, "end_process", lambda code, reason: calls.append((code, reason)))
    return calls


@pytest.fixture
def worker(ends):
    """A worker that was told to stop, with work that its end would leave unknown."""
    names = (
        "app",
        "committers",
        "runner",
        "housekeeping",
        "client",
        "health",
        "metrics",
        "telemetry",
        "require_topics",
    )
    take_over = Mock(cut_off=lambda: GivenUp(sent=2, handed_back=3, batches_handed_back=4, unknown=1))
    made = WorkerProcess(instance="worker-0", take_over=take_over, **{name: Mock() for name in names})
    made._stop = asyncio.Event()
    made._stop.set()
    made._stopping_since_s = 0.0
    return made


def test_a_drain_that_is_cut_off_says_what_becomes_of_the_work(worker, ends):
    with capture_logs() as logged:
        worker.end(70, "a call hangs")
        worker.end(1, "and another thread noticed, too")
    (line,) = logged
    assert line.pop("seconds") > 0
    assert line == {
        "event": "drained",
        "log_level": "warning",
        "sent": 2,
        "handed_back": 3,
        "batches_handed_back": 4,
        "unknown": 1,
        "cut_off": "a call hangs",
    }
    assert ends[0] == (70, "a call hangs")


def test_a_worker_that_was_not_told_to_stop_has_not_drained(worker, ends):
    worker._stop.clear()
    with capture_logs() as logged:
        worker.end(1, "it crashed")
    assert not logged
    assert ends == [(1, "it crashed")]


def test_a_process_that_does_not_come_to_its_end_is_ended():
    ended = threading.Event()
    told = []

    def end(code, reason):
        told.append((code, reason))
        ended.set()

    bound_the_end(end, stop_s=0.01)
    assert ended.wait(5)
    assert told == [(1, "not at its end 0.01 s after it began to stop")]
