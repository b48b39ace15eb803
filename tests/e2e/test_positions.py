"""Offsets that are not where they should be: what is blocked, what goes on, and what an operator's decision brings."""

import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from streams.kafka import topics
from tests.e2e.artefacts import Outcomes
from tests.e2e.world import ROOT, log_ends, until
from tests.kafka.transport_workers import commit, delete_before

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(200)]


class Operator:
    """Runs ``callstream offsets`` as an operator would, and breaks things."""

    def __init__(self, world):
        self.world = world
        self.admin = AdminClient({"bootstrap.servers": world.bootstrap})
        self.intents, self.parcels = world.topics["intents"], world.topics["parcels"]

    def offsets(self, *arguments):
        command = [sys.executable, "-m", "streams", "offsets", *arguments, "--json"]
        config = ["--config", str(self.world.directory / "worker-0.yaml")]
        return subprocess.run([*command, *config], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    def states(self):
        shown = orjson.loads(self.offsets("show").stdout)["partitions"]
        return {(row["topic"], row["partition"]): row for row in shown}

    def blocked(self):
        return {where: row["reason"] for where, row in self.states().items() if row["state"] == "blocked"}

    def reset(self, *arguments):
        done = self.offsets("reset", *arguments)
        assert done.returncode == 0, done.stderr
        return {(row["topic"], row["partition"]): row for row in orjson.loads(done.stdout)["resets"]}

    def refused(self, *arguments):
        done = self.offsets("reset", *arguments)
        assert done.returncode == 3, (done.returncode, done.stdout, done.stderr)
        return done.stderr

    def expire(self):
        """What `offsets.retention.minutes` does to a group that was empty for too long."""
        self.admin.delete_consumer_groups([self.world.group])[self.world.group].result(20)

    def recreate(self, name, partitions):
        self.admin.delete_topics([self.world.topics[name]], operation_timeout=10)[self.world.topics[name]].result(20)
        specs = topics.topic_specs(**self.world.topics, partitions=partitions)
        (spec,) = [spec for spec in specs if spec.name == self.world.topics[name]]
        until(lambda: spec.name not in self.admin.list_topics(timeout=10).topics, 20, "the topic is gone")
        topics.apply(self.admin, [spec])


def stopped(worker):
    worker.signal(signal.SIGTERM)
    assert worker.wait(40) == 0


def finals_by_source(outcomes):
    return Counter(outcome.source for outcome in outcomes.all if outcome.final)


def in_both_protocols(scenario):
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(scenario, protocol) for protocol in ("consumer", "classic")]
    for each in running:
        each.result()


def ready(worker, operator, blocked):
    """Wait until the worker has started, and has blocked this many partitions."""
    until(lambda: len(worker.events("partition_taken_over")) > 0 or blocked, 30, "lanes are taken over")

    def counted():
        told = [line for line in worker.metrics().splitlines() if line.startswith("callstream_partitions_blocked{")]
        return sum(int(float(line.split()[-1])) for line in told) == blocked

    until(counted, 30, lambda: f"{blocked} are blocked: {worker.said()[-3000:]}")


def expired(world, operator, outcomes, protocol):
    """The group's offsets are gone: nothing is read, and from the journal everything goes on as if nothing was."""
    operator.expire()
    known = {where for where, row in operator.states().items() if row["journal"] is not None}
    assert len(known) == 12
    assert operator.blocked() == dict.fromkeys(known, "no_committed_offset")
    before = outcomes.final_count()
    world.publish(300)
    worker = world.start_worker("worker-0", protocol)
    ready(worker, operator, blocked=12)
    assert "has members (" in operator.refused("intents", "parcels", "--to-journal", "--execute")
    stopped(worker)
    assert outcomes.final_count() == before
    assert "partition blocked: " in worker.said()
    told = operator.reset("intents", "parcels", "--to-journal")
    assert operator.blocked(), "a dry run"
    assert {where for where, row in told.items() if not row["lost"] and not row["read_again"]} == known
    operator.reset("intents", "parcels", "--to-journal", "--execute")
    assert operator.blocked() == {}


def overtaken(world, operator, outcomes, protocol):
    """Retention has overtaken one partition, somebody has moved another, two were added: only two are blocked."""
    states = operator.states()
    stood = {partition: states[(operator.intents, partition)]["committed"] for partition in range(6)}
    operator.admin.create_partitions([NewPartitions(operator.intents, 8)])[operator.intents].result(20)
    world.publish(800)
    end = log_ends(world.bootstrap, operator.intents, range(8))
    lost = range(stood[0], stood[0] + (end[0] - stood[0]) // 2)
    delete_before(world.bootstrap, operator.intents, {0: lost.stop})
    commit(world.bootstrap, world.group, operator.intents, {2: 0})
    worker = world.start_worker("worker-0", protocol)
    ready(worker, operator, blocked=2)
    waiting = end[0] - stood[0] + end[2] - stood[2]
    outcomes.until_final(world.published - waiting, 40)
    assert operator.blocked() == {(operator.intents, 0): "below_log_start", (operator.intents, 2): "moved_from_outside"}
    assert f"{len(lost)} offsets [{lost.start}, {lost.stop}) are gone from the log" in worker.said()
    stopped(worker)
    assert "say --accept-loss" in operator.refused("intents:0", "--to-earliest", "--execute")
    assert "say --accept-duplicates" in operator.refused("intents:2", "--to-offset", "0", "--execute")
    told = operator.reset("intents:0", "--to-earliest", "--execute", "--accept-loss")
    (gap,) = told[(operator.intents, 0)]["lost"]
    assert (gap["start"], gap["end"]) == (lost.start, lost.stop)
    operator.reset("intents:2", "--to-journal", "--execute")
    return len(lost)


def recreated(world, operator):
    """Intents and parcels were deleted and created anew: everything is blocked until the loss is accepted."""
    for name in ("intents", "parcels"):
        operator.recreate(name, 6)
    world.publish(600)
    assert set(operator.blocked().values()) == {"topic_recreated"}
    assert len(operator.blocked()) == 12
    assert "say --accept-loss" in operator.refused("intents", "parcels", "--to-earliest", "--execute")
    operator.reset("intents", "parcels", "--to-earliest", "--execute", "--accept-loss")
    assert operator.blocked() == {}


@pytest.mark.faults("F8", "F9", "F10", "F11")
def test_offsets_that_are_not_where_they_should_be(quick, new_world):
    def scenario(protocol):
        world = new_world(quick.bootstrap).make_topics()
        world.publish(1_000)
        world.start_api()
        outcomes, operator = Outcomes(world), Operator(world)
        worker = world.start_worker("worker-0", protocol)
        outcomes.until_final(1_000, 40)
        stopped(worker)

        expired(world, operator, outcomes, protocol)
        worker = world.start_worker("worker-0", protocol)
        outcomes.until_final(world.published, 40)
        stopped(worker)

        if protocol == "classic":
            return  # the protocols differ in who may commit to a group without members, which has been shown

        lost = overtaken(world, operator, outcomes, protocol)
        worker = world.start_worker("worker-0", protocol)
        outcomes.until_final(world.published - lost, 40)
        stopped(worker)
        assert set(finals_by_source(outcomes).values()) == {1}, "nothing twice"

        recreated(world, operator)
        worker = world.start_worker("worker-0", protocol)
        until(lambda: outcomes.final_count() and sum(outcomes.finals.values()) >= world.published - lost, 40, "all")
        stopped(worker)
        assert sum(outcomes.finals.values()) == world.published - lost, "cursors of the old topic hold up nothing"

    in_both_protocols(scenario)
