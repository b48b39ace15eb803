"""``callstream verify`` as a process, beside workers that run and after they have ended."""

import signal
import subprocess
import sys

import orjson
import pytest
from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.e2e.artefacts import Outcomes
from tests.e2e.world import ROOT, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(120)]


def verify(world, *arguments):
    """Run the command; returns its exit code and what it said."""
    config = str(next(world.directory.glob("*.yaml")))
    command = [sys.executable, "-m", "streams", "verify", "--config", config, "--json", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert ended.stdout, ended.stderr.decode()
    return ended.returncode, orjson.loads(ended.stdout)


def test_a_deployment_at_work_and_at_rest_is_valid(quick, new_world):
    world = new_world(quick.bootstrap).make_topics()
    world.publish(5_000)
    world.start_api(status_delay_s=15)
    outcomes = Outcomes(world)
    first = world.start_worker("worker-0")
    ledger = ("--ledger", str(world.ledger))
    with world.load(500):
        until(lambda: world.applied() > 2_000, 60, "some are applied")
        code, told = verify(world, *ledger)
        assert (code, told["verdict"]) == (0, "valid"), (told["anomalies"], told["unknown"])
        assert told["pending"] > 0
        assert told["pending"] + sum(told["outcomes"].values()) == told["intents"]
        first.signal(signal.SIGTERM)
        assert first.wait(40) == 0
        world.start_worker("worker-0")
    outcomes.until_final(world.published, 60)
    code, told = verify(world, *ledger, "--text", str(first.log))
    assert (code, told["verdict"], told["anomalies"], told["pending"]) == (0, "valid", [], 0)
    assert told["intents"] == world.published == sum(told["outcomes"].values())
    assert told["budget"]["kept"]
    assert told["budget"]["requests"] == told["budget"]["ledger"]["requests"] > 0
    code, told = verify(world, "--offsets", "0:100-200", "--offsets", "2:50-")
    assert code == 0
    covered = told["covered"]["partitions"]
    assert (covered["0"]["from"], covered["0"]["to"]) == (100, 200)
    assert told["intents"] == 100 + covered["2"]["to"] - 50
    code, told = verify(world, "--to", "-1h")
    assert (code, told["intents"]) == (0, 0)
    remove(world, "outcomes", 0)
    code, told = verify(world, *ledger)
    assert (code, told["verdict"], told["anomalies"]) == (3, "unknown", [])
    assert "look lost, but retention has removed messages" in told["unknown"][0]


def remove(world, topic, partition):
    """Delete all records of a partition, as retention does."""
    admin = AdminClient({"bootstrap.servers": world.bootstrap})
    place = TopicPartition(world.topics[topic], partition, OFFSET_END)
    for answer in admin.delete_records([place]).values():
        answer.result(10)


def test_what_cannot_be_read_is_unknown(quick, new_world):
    world = new_world(quick.bootstrap).make_topics(without="outcomes")
    world.api_url = "http://127.0.0.1:9"
    world.config("worker-0", "consumer", 0)
    code, told = verify(world)
    assert (code, told["verdict"]) == (3, "unknown")
    assert told["unknown"] == [f"topic {world.topics['outcomes']!r} does not exist"]
