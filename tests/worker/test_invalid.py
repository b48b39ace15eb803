"""A partition of the intents that has turned invalid: told in any case, paused where the settings say so."""

import asyncio
from collections import Counter

import pytest
from structlog.testing import capture_logs

from streams.worker.invalid import PAUSE_S, InvalidWatch
from tests.worker.parts import lease, new_metrics


class Reading:
    """A watch, and which partitions it has paused."""

    def __init__(self, action):
        self.paused: list[int] = []
        self.metrics = new_metrics()
        self.watch = InvalidWatch(
            action,
            lambda each: self.paused.append(each.partition),
            lambda each: self.paused.remove(each.partition),
            self.metrics,
        )

    def gauge(self, state):
        self.watch.sample()
        return self.metrics.partitions_invalid.labels(state)._value.get()


BAD = Counter(unknown_account=900, not_json=100)


@pytest.fixture
def events():
    with capture_logs() as told:
        yield told


@pytest.mark.faults("F30")
def test_alert_tells_and_reads_on(play, events):
    async def story():
        reading = Reading("alert")
        owner = lease("intents", 3)
        reading.watch.saw(owner, 1000, BAD)
        reading.watch.saw(owner, 1000, BAD)
        assert reading.paused == []
        assert (reading.gauge("read"), reading.gauge("paused")) == (1, 0)
        reading.watch.saw(owner, 1000, Counter())
        assert reading.gauge("read") == 0

    play(story)
    assert [each["event"] for each in events] == ["intents_mostly_invalid", "intents_valid_again"]
    assert (events[0]["partition"], events[0]["invalid"], events[0]["reason"]) == (3, 1000, "unknown_account")
    assert "mend the dialer" in events[0]["remedy"]


@pytest.mark.faults("F30")
def test_pause_reads_no_more_for_a_while_and_judges_anew(play, events):
    async def story():
        reading = Reading("pause")
        bad, good = lease("intents", 3), lease("intents", 4)
        reading.watch.saw(bad, 1000, BAD)
        reading.watch.saw(good, 1000, Counter())
        # What was fetched already still comes.
        reading.watch.saw(bad, 1000, BAD)
        assert reading.paused == [3]
        assert (reading.gauge("read"), reading.gauge("paused")) == (0, 1)
        await asyncio.sleep(PAUSE_S + 1)  # virtual
        assert reading.paused == []
        assert reading.gauge("paused") == 0
        reading.watch.saw(bad, 999, BAD)
        assert reading.paused == []
        reading.watch.saw(bad, 1, Counter(not_json=1))
        assert reading.paused == [3]

    play(story)
    told = [each["event"] for each in events]
    assert told == ["intents_mostly_invalid", "intents_read_again", "intents_mostly_invalid"]


def test_a_partition_that_is_gone_is_forgotten_and_not_read_again(play, events):
    async def story():
        reading = Reading("pause")
        owner = lease("intents", 3)
        reading.watch.saw(owner, 1000, BAD)
        owner.alive = False
        assert reading.gauge("paused") == 0
        await asyncio.sleep(PAUSE_S + 1)  # virtual
        assert reading.paused == [3], "its lease is over, and with it the pause"
        reading.watch.saw(lease("intents", 3), 10, Counter())
        assert reading.gauge("paused") == 0

    play(story)
