"""What a worker process makes of the death of its parts: it is never half alive."""

import asyncio
from types import SimpleNamespace

import pytest

from streams.contracts.exits import ExitCode
from streams.telemetry.health import Health
from streams.worker import process
from streams.worker.draining import GivenUp
from streams.worker.process import WorkerProcess


async def for_ever(*_):
    await asyncio.Event().wait()


async def failing(*_):
    raise RuntimeError("a bug")


async def done(*_):
    pass


class App:
    """Faust, as far as the process sees it."""

    def __init__(self):
        self.crashed = False
        self._crashed = asyncio.Event()

    start = stop = done


@pytest.fixture
def ended(monkeypatch):
    """What the process was ended with; it goes on, unlike in production."""
    told: list[tuple[int, str]] = []
    monkeypatch.setattr(process, "end_process", lambda code, reason: told.append((code, reason)))
    monkeypatch.setattr(process, "_collect_garbage_rarely", lambda: None)
    monkeypatch.setattr(process, "bound_the_end", lambda end: None)
    return told


def worker_with(monkeypatch, **tasks):
    monkeypatch.setattr(process, "heartbeat", tasks.get("heartbeat", for_ever))
    parts = {
        "instance": "worker-0",
        "app": App(),
        "take_over": SimpleNamespace(given_up=GivenUp(), cut_off=GivenUp),
        "committers": (SimpleNamespace(start=done, stop=done),),
        "runner": SimpleNamespace(run=tasks.get("runner", for_ever), finished=tasks.get("finished", done)),
        "housekeeping": SimpleNamespace(run=tasks.get("housekeeping", for_ever)),
        "client": SimpleNamespace(aclose=done),
        "health": Health(),
        "metrics": None,
        "telemetry": SimpleNamespace(start=lambda: 1, stop=lambda: None),
        "require_topics": lambda: None,
    }
    return WorkerProcess(**parts)  # type: ignore[arg-type]  # stand-ins


@pytest.mark.faults("F28", "F91")
@pytest.mark.parametrize("task", ["runner", "housekeeping", "heartbeat"])
async def test_the_death_of_any_task_ends_the_process(monkeypatch, ended, task):
    worker = worker_with(monkeypatch, **{task: failing})
    running = asyncio.ensure_future(worker.run())
    async with asyncio.timeout(10):
        while not ended:
            await asyncio.sleep(0)
    assert ended == [(ExitCode.CRASH, "a task of the worker failed: RuntimeError")]
    worker._stop.set()
    await running


@pytest.mark.faults("F28", "F91")
async def test_the_death_of_an_agent_ends_the_process(monkeypatch, ended):
    worker = worker_with(monkeypatch)
    running = asyncio.ensure_future(worker.run())
    worker.app.crashed = True
    worker.app._crashed.set()
    assert await running == ExitCode.CRASH
    assert not worker.health.ready


@pytest.mark.faults("F83")
async def test_a_stop_is_a_normal_end_and_takes_the_worker_out_of_service(monkeypatch, ended):
    worker = worker_with(monkeypatch)
    running = asyncio.ensure_future(worker.run())
    async with asyncio.timeout(10):
        while not worker.health.ready:
            await asyncio.sleep(0)
    worker._stop.set()
    assert await running == ExitCode.DONE
    assert worker.health.reasons() == ("draining",)
    assert not ended


async def test_a_stop_waits_for_requests_that_are_still_running(monkeypatch, ended):
    answered = asyncio.Event()
    closed = asyncio.Event()

    async def aclose():
        closed.set()

    worker = worker_with(monkeypatch, finished=answered.wait)
    worker.client = SimpleNamespace(aclose=aclose)
    running = asyncio.ensure_future(worker.run())
    async with asyncio.timeout(10):
        while not worker.health.ready:
            await asyncio.sleep(0)
    worker._stop.set()
    for _ in range(50):
        await asyncio.sleep(0)
    assert not closed.is_set()
    answered.set()
    assert await running == ExitCode.DONE
    assert closed.is_set()
