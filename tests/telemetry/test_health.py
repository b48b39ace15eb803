"""Liveness from the event loop's beat, readiness from what is held."""

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from streams.telemetry.health import STARTING, Health
from streams.telemetry.loop import heartbeat
from streams.telemetry.metrics import Metrics


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.faults("F87")
def test_a_worker_lives_as_long_as_its_loop_beats():
    clock = Clock()
    health = Health(clock, beat_age_max_s=30)

    clock.now_s += 30
    assert health.live()
    clock.now_s += 0.1
    assert not health.live()
    health.beat()
    assert health.live()


def test_a_worker_is_ready_when_nothing_is_held():
    health = Health()
    assert (health.ready, health.reasons()) == (False, (STARTING,))

    health.hold("draining")
    health.hold("draining")
    health.release(STARTING)
    assert health.reasons() == ("draining",)
    health.release("draining")
    health.release("never held")
    assert health.ready


class CountingHealth(Health):
    """Calls back at every beat."""

    def __init__(self, on_beat: Callable[[int], None]) -> None:
        super().__init__()
        self._beats = 0
        self._on_beat = on_beat

    def beat(self) -> None:
        super().beat()
        self._beats += 1
        self._on_beat(self._beats)


@pytest.mark.faults("F87")
async def test_the_heartbeat_beats_and_measures_until_cancelled():
    third = asyncio.Event()
    registry = CollectorRegistry()
    health = CountingHealth(lambda beats: third.set() if beats == 3 else None)

    task = asyncio.create_task(heartbeat(health, Metrics(registry, "0"), period_s=0.001))
    async with asyncio.timeout(10):
        await third.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert registry.get_sample_value("callstream_event_loop_lag_seconds_count") == 2
