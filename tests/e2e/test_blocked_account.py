"""One account of a partition is throttled for long: that costs the others nothing, and it loses nothing itself."""

import logging
import re
import statistics
import time

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition

from streams.kafka.partitions import partition_of
from streams.sandbox.dialer import Dialer
from tests.e2e.artefacts import Follower, Outcomes, audited, collect, figures, findings_of, intent_of
from tests.e2e.world import PARTITIONS, SOON_S, World, until

logger = logging.getLogger(__name__)

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]

# Long enough for a worker to start, to fill a lane, to be killed and to start again.
BLOCKED_S = 40.0
MEASURED_S = 6.0
PER_S = 150
LANE_INTENTS = 200

# What a lane waits for company, and two commits: below it, a ratio says more about the machine than about the account.
P99_FLOOR_S = 0.6


def sharing(world: World, count: int) -> int:
    """Leave the world so many accounts, all of one partition; returns that."""
    by_partition: dict[int, list[int]] = {}
    for number, account in enumerate(world.accounts):
        by_partition.setdefault(partition_of(account.id.encode(), PARTITIONS), []).append(number)
    partition, numbers = max(by_partition.items(), key=lambda item: len(item[1]))
    assert len(numbers) >= count
    world.accounts = tuple(world.accounts[number] for number in numbers[:count])
    world._dialer = Dialer(world.accounts, seed=7)
    return partition


def gauge(worker, name):
    found = re.search(rf"^callstream_{name} (\S+)", worker.metrics(), re.MULTILINE)
    return None if found is None else float(found[1])


def committed(world, partition):
    consumer = Consumer({"bootstrap.servers": world.bootstrap, "group.id": world.group})
    try:
        (found,) = consumer.committed([TopicPartition(world.topics["parcels"], partition)], timeout=10)
    finally:
        consumer.close()
    return found.offset


def accept_seconds(world, account_ids, windows):
    """For each window of publication (epoch seconds): how long intents of these accounts took to be accepted."""
    published: dict[tuple[int, int], float] = {}
    seconds: list[list[float]] = [[] for _ in windows]

    def take_intent(message):
        if intent_of(message.value()).account_id in account_ids:
            published[message.partition(), message.offset()] = message.timestamp()[1] / 1000

    def take_outcome(message):
        told = orjson.loads(message.value())
        if told.get("status") != "accepted" or "source" not in told:
            return
        at = published.get((told["source"]["partition"], told["source"]["offset"]))
        for number, (begin, end) in enumerate(windows):
            if at is not None and begin <= at < end:
                seconds[number].append(message.timestamp()[1] / 1000 - at)

    for topic, take in (("intents", take_intent), ("outcomes", take_outcome)):
        follower = Follower(world.bootstrap, world.topics[topic], take)
        follower.read_to_end()
        follower.close()
    return seconds


def p99(seconds):
    return statistics.quantiles(seconds, n=100)[-1]


@pytest.mark.faults("F94", "F95")
def test_a_blocked_account_costs_the_others_nothing(quick, new_world):
    world = new_world(
        quick.bootstrap, accounts=30, lane={"intents_max": LANE_INTENTS}, window={"records_max": 100}
    ).make_topics()
    partition = sharing(world, 3)
    blocked, *others = (account.id for account in world.accounts)
    world.start_api(faults=f"burst429={BLOCKED_S}@0/{blocked},retry_after=1")
    heals_at = time.monotonic() + BLOCKED_S
    outcomes = Outcomes(world)
    worker = world.start_worker("worker-0")
    with world.load(PER_S):
        # What had come before the worker may have filled the lanes of the others for a moment, too.
        until(lambda: (gauge(worker, "recall_lag_records") or 0) > LANE_INTENTS, SOON_S, "somebody is behind")
        until(lambda: gauge(worker, "accounts_behind") == 1, SOON_S, "only the blocked account is behind")
        began, at = time.time(), committed(world, partition)
        until(lambda: time.time() > began + MEASURED_S, MEASURED_S + 5, "measured while it is blocked")
        during = (began, time.time() - 1)
        assert committed(world, partition) > at + 10
        assert gauge(worker, "window_records") < LANE_INTENTS + PER_S * 3
        world.kill(worker)
        worker = world.start_worker("worker-0")
        until(lambda: gauge(worker, "accounts_behind"), SOON_S, "the new owner knows that it is behind")
        until(lambda: time.monotonic() > heals_at, BLOCKED_S, "it heals")
        until(lambda: gauge(worker, "accounts_behind") == 0, 60, "it has caught up")
        began = time.time()
        until(lambda: time.time() > began + MEASURED_S, MEASURED_S + 5, "measured when all is well")
        after = (began, time.time() - 1)
    outcomes.until_final(world.published, 90)
    slow, usual = accept_seconds(world, set(others), [during, after])
    logger.info("p99 %.3f s of %d, usually %.3f s of %d", p99(slow), len(slow), p99(usual), len(usual))
    assert min(len(slow), len(usual)) > 200
    assert p99(slow) <= 2 * max(p99(usual), P99_FLOOR_S)
    report = audited(world, collect(world, outcomes))
    assert not findings_of(report), figures(report)
    assert outcomes.finals["delivered"] > 0.9 * world.published
