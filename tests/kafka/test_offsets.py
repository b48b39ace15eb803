"""Questions about offsets are answered again once the group's coordinator is back, whatever happened to it."""

import asyncio
import uuid

import pytest
from confluent_kafka import Consumer, TopicPartition

from streams.kafka.client_config import KafkaOptions
from streams.kafka.offsets import Offsets
from streams.kafka.standing import Committed
from tests.kafka.transport_workers import commit, transactional

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]


@pytest.fixture
def offsets():
    made: list[Offsets] = []

    def make(at, group):
        made.append(Offsets(KafkaOptions(at, group, "w")))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.faults("F3")
async def test_a_coordinator_that_is_made_and_restarted_answers(kafka_to_break, new_topic, offsets):
    at, group = kafka_to_break.bootstrap, uuid.uuid4().hex
    topic = new_topic(2, at=at)
    asked = offsets(at, group)
    # The first question about groups makes a fresh broker create the topic that answers it.
    assert (await asked.standing_of(topic, 0)).committed is None
    commit(at, group, topic, {0: 0})
    assert (await asked.standing_of(topic, 0)).committed == Committed(0)
    kafka_to_break.nodes[0].restart()
    assert (await asked.standing_of(topic, 0)).committed == Committed(0)
    assert (await asked.standing_of(topic, 1)).committed is None


async def test_an_offset_that_is_about_to_be_committed_is_waited_for(bootstrap, new_topic, offsets):
    group, topic = uuid.uuid4().hex, new_topic(2)
    commit(bootstrap, group, topic, {0: 0, 1: 0})
    producer = transactional(bootstrap)
    producer.begin_transaction()
    producer.produce(topic, b"x", partition=0)
    producer.flush(10)
    outsider = Consumer({"bootstrap.servers": bootstrap, "group.id": group}).consumer_group_metadata()
    producer.send_offsets_to_transaction([TopicPartition(topic, 0, 1)], outsider, 10)
    asked = offsets(bootstrap, group)
    waiting = asyncio.create_task(asked.standing_of(topic, 0))
    assert (await asked.standing_of(topic, 1)).committed == Committed(0), "the other partition waits for nobody"
    assert not waiting.done()
    await asyncio.to_thread(producer.commit_transaction, 10)
    stands = await waiting
    assert (stands.committed, stands.log_end, stands.stable_end) == (Committed(1), 2, 2)
