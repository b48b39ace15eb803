"""What the transport relies on inside faust-streaming 0.15.3.

When one of these fails after an upgrade, ``streams/kafka/faust_seam.py`` has to be thought through again.
"""

import uuid
from importlib.metadata import version
from typing import Any

import faust
import pytest
from faust import streams as faust_streams
from faust.exceptions import ImproperlyConfigured
from faust.transport import conductor as faust_conductor
from faust.transport.drivers import by_url
from faust.types import TP
from yarl import URL

from streams.kafka.faust_seam import mark_stale, message_of, set_partitions
from streams.kafka.lease import Chunk, Lease
from streams.kafka.transport import FAUST_SETTINGS, Transport, chunk_topic
from tests.kafka.transport_workers import Worker, fill, running


def a_chunk(partition: int = 0, start: int = 0) -> Chunk:
    lease = Lease("topic", partition, number=0, start_offset=0, assigned_at_s=0.0)
    return Chunk(lease, [], start, start + 1)


def test_the_version_is_the_one_that_was_looked_at():
    assert version("faust-streaming") == "0.15.3"


def test_the_compiled_parts_are_there():
    """Without them Faust acks and commits events that it skips."""
    assert vars(faust_streams)["_CStreamIterator"] is not None
    assert vars(faust_conductor)["ConductorHandler"] is not None


def test_the_broker_url_finds_the_transport():
    assert by_url(URL(FAUST_SETTINGS["broker"])) is Transport


async def test_an_app_without_install_says_what_is_missing():
    app = faust.App("test-not-installed", **FAUST_SETTINGS)
    with pytest.raises(ImproperlyConfigured, match="install"):
        app.transport.create_consumer(app.topics.on_message, on_partitions_revoked=None, on_partitions_assigned=None)


async def test_a_chunk_passes_through_the_schema_untouched():
    app = faust.App("test-schema", **FAUST_SETTINGS)
    chunk = a_chunk()
    message = message_of(chunk)
    event = await chunk_topic(app, "topic").decode(message)
    assert event.value is chunk
    assert (event.key, message.generation_id, message.tp) == (None, app.consumer_generation_id, TP("topic", 0))


async def test_partitions_are_set_without_giving_way_to_anybody():
    """Therefore a chunk never meets a half-made index."""
    app = faust.App("test-partitions", **FAUST_SETTINGS)
    setting = app.topics.on_partitions_assigned({TP("topic", 0)})
    with pytest.raises(StopIteration):
        setting.send(None)


@pytest.mark.kafka
async def test_faust_drops_what_was_marked_stale_and_delivers_the_rest(bootstrap: str, new_topic: Any) -> None:
    topic = new_topic(1)
    worker = Worker(bootstrap, topic, f"g-{uuid.uuid4().hex[:12]}", "auto")
    async with running(worker):
        await worker.until(lambda: bool(worker.assigned_at_s))
        (lease,) = worker.owned.leases()
        worker.agent_may_go.clear()
        chunks = [Chunk(lease, [], start, start + 1) for start in range(4)]
        messages = [message_of(chunk) for chunk in chunks]
        await set_partitions(worker.app, [(topic, 0)])
        for message in messages:
            await worker.app.topics.on_message(message)
        # The agent has the first one in its hands, the others wait in its queue.
        mark_stale(messages[1])
        mark_stale(messages[2])
        worker.agent_may_go.set()
        await worker.until(lambda: [chunk.start for _, chunk in worker.chunks] == [0, 3])


@pytest.mark.kafka
async def test_faust_comes_up_once_and_never_acks_commits_or_rebalances(bootstrap: str, new_topic: Any) -> None:
    topic = new_topic(2)
    worker = Worker(bootstrap, topic, f"g-{uuid.uuid4().hex[:12]}", "auto")
    async with running(worker):
        fill(bootstrap, topic, partitions=2, records=100)
        await worker.until(lambda: worker.records() == 100)
        consumer: Any = worker.app.consumer
        assert worker.app.rebalancing_count == 1
        assert worker.app.rebalancing is False
        assert worker.app.consumer_generation_id == 0
        assert worker.app.flow_control.is_active()
        assert consumer.assignment() == {TP(topic, 0), TP(topic, 1)}
        assert worker.app.topics.acking_topics == set()
        assert not consumer._acked
        assert not consumer.unacked
        assert await consumer.commit() is False
