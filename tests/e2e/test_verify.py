"""``callstream verify`` as a process, beside workers that run and after they have ended."""

import signal
import subprocess
import sys

import orjson
import pytest

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
    world.publish(20_000)
    world.start_api(status_delay_s=4)
    outcomes = Outcomes(world)
    first = world.start_worker("worker-0")
    with world.load(1000):
        until(lambda: world.applied() > 2_000, 60, "some are applied")
        code, told = verify(world, "--ledger", str(world.ledger))
        assert (code, told["verdict"]) == (0, "valid"), (told["anomalies"], told["unknown"])
        assert told["pending"] > 0
        world.kill(first)
        code, told = verify(world, "--ledger", str(world.ledger))
        assert (code, told["verdict"]) == (0, "valid"), (told["anomalies"], told["unknown"])
        second = world.start_worker("worker-0")
    outcomes.until_final(world.published, 100)
    second.signal(signal.SIGTERM)
    assert second.wait(40) == 0
    code, told = verify(world, "--ledger", str(world.ledger))
    assert (code, told["verdict"], told["anomalies"], told["pending"]) == (0, "valid", [], 0)
    assert told["intents"] == world.published == sum(told["outcomes"].values())
