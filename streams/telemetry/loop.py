"""The task that proves that the event loop turns, and measures how late it is."""

import asyncio

from streams.telemetry.health import Health
from streams.telemetry.metrics import Metrics


async def heartbeat(health: Health, metrics: Metrics, period_s: float = 0.5) -> None:
    """Beat every ``period_s`` on the running loop and observe how much later than due each beat is, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        health.beat()
        due_s = loop.time() + period_s
        await asyncio.sleep(period_s)
        metrics.event_loop_lag_seconds.observe(max(0.0, loop.time() - due_s))
