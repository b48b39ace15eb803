"""How many accounts of a worker are in which state, as its gauges say."""

import pytest

from streams.worker.clock import read_clock
from tests.worker.parts import Shell, row


@pytest.mark.parametrize(
    ("state", "options"),
    [
        pytest.param("running", {}, id="running"),
        pytest.param("blocked", {"blocked": True}, id="not configured any more"),
        pytest.param("full", {"intents_max": 1}, id="full"),
    ],
)
def test_every_account_is_counted_in_its_state(play, state, options):
    async def story():
        shell = Shell(**options)
        shell.offer(row(0))
        metrics = shell.runner.observer.metrics
        shell.runner.observer.sampled([shell.partition], read_clock())
        counted = {name: metrics.lanes.labels(name)._value.get() for name in ("running", "full", "blocked", "paused")}
        assert counted == {"running": 0, "full": 0, "blocked": 0, "paused": 0, state: 1}

    play(story)
