"""The committer under SIGKILL, SIGSTOP and a broker that goes away: every message is copied exactly once."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Producer

from scripts.kafka import RELEASE_FOR_OUTAGES, Cluster
from tests.kafka.stage import STEPS

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 4


@pytest.fixture(scope="module")
def quick():
    """A Kafka that notices a dead worker within two seconds, in both protocols."""
    with Cluster(session_timeout_s=2, properties={"group.min.session.timeout.ms": "1000"}) as cluster:
        yield cluster


class Runner:
    """Stages as processes, on two topics of their own."""

    def __init__(self, at, protocol, new_topic, messages):
        self.at, self.protocol = at, protocol
        self.source, self.target = new_topic(PARTITIONS, at=at), new_topic(PARTITIONS, at=at)
        self.group = uuid.uuid4().hex
        self.messages = messages
        self.running: list[subprocess.Popen[str]] = []
        self.publish(messages)

    def publish(self, count):
        producer = Producer({"bootstrap.servers": self.at, "linger.ms": 5})
        for number in range(count):
            producer.produce(self.source, b"x", partition=number % PARTITIONS)
        assert producer.flush(30) == 0

    def start(self, instance, *interruption):
        names = [self.at, self.group, instance, self.protocol, self.source, self.target, *map(str, interruption)]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.kafka.stage", *names], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        self.running.append(process)
        return process

    def end(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture
def runner(request, new_topic):
    made = []

    def make(at, protocol, messages):
        made.append(Runner(at, protocol, new_topic, messages))
        return made[-1]

    yield make
    for each in made:
        each.end()


def wait_for(process, word):
    """Read the process's lines up to the one that begins with ``word``."""
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if line.startswith(word):
            return line.rstrip()
    raise AssertionError(f"no line {word!r} before the end ({process.wait()}); the last: {lines[-3:]}")


def wait_until_stopped(process):
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def counted(messages):
    return Counter(message.value() for message in messages)


def expected(per_partition):
    return Counter(f"{p}:{offset}".encode() for p in range(PARTITIONS) for offset in range(per_partition))


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
@pytest.mark.faults("F34")
def test_a_kill_after_any_step_loses_and_doubles_nothing(quick, runner, read_committed, read_uncommitted, protocol):
    run = runner(quick.bootstrap, protocol, 4000)
    for step in STEPS:
        process = run.start("worker-0", "kill", step, 2)
        wait_for(process, "at")
        assert process.wait(10) == -signal.SIGKILL
    last = run.start("worker-0")
    wait_for(last, "done")
    assert last.wait(10) == 0
    assert counted(read_committed(run.target, at=run.at)) == expected(1000)
    # The kills did leave half-written transactions behind, and no reader saw them.
    assert len(read_uncommitted(run.target, at=run.at)) > 4000


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
@pytest.mark.faults("F20")
def test_a_worker_frozen_beyond_its_session_is_refused(quick, runner, read_committed, protocol):
    run = runner(quick.bootstrap, protocol, 2000)
    frozen = run.start("worker-0", "stop", "flush", 2)
    wait_for(frozen, "at")
    wait_until_stopped(frozen)
    heir = run.start("worker-1")
    wait_for(heir, "done")
    assert heir.wait(10) == 0
    frozen.send_signal(signal.SIGCONT)
    # It drops what it held and goes on as a new member, or it was fenced meanwhile and ends.
    assert frozen.wait(60) in {0, 1, 3}
    assert counted(read_committed(run.target, at=run.at)) == expected(500)


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
@pytest.mark.faults("F75")
def test_an_heir_waits_for_offsets_that_are_about_to_be_committed(quick, runner, read_committed, protocol):
    run = runner(quick.bootstrap, protocol, 2000)
    frozen = run.start("worker-0", "stop", "send_offsets", 2)
    wait_for(frozen, "at")
    wait_until_stopped(frozen)
    heir = run.start("worker-1")
    wait_for(heir, "assigned")
    frozen.send_signal(signal.SIGCONT)
    wait_for(heir, "done")
    assert heir.wait(10) == 0
    frozen.kill()
    assert counted(read_committed(run.target, at=run.at)) == expected(500)


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
@pytest.mark.faults("F31", "F73")
def test_a_broker_that_goes_away_under_load_costs_nothing(runner, read_committed, protocol):
    properties = {"group.min.session.timeout.ms": "1000"}
    with Cluster(session_timeout_s=2, properties=properties, release=RELEASE_FOR_OUTAGES) as cluster:
        run = runner(cluster.bootstrap, protocol, 8000)
        worker = run.start("worker-0")
        wait_for(worker, "assigned")
        cluster.nodes[0].stop()
        cluster.nodes[0].start()
        cluster.nodes[0].wait_ready()
        run.publish(2000)
        ends = []
        deadline = time.monotonic() + 90
        while (code := worker.wait(60)) != 0:
            # What a supervisor does.
            assert code in {1, 3, 70}
            assert time.monotonic() < deadline
            ends.append(code)
            worker = run.start("worker-0")
        assert counted(read_committed(run.target, at=run.at)) == expected(2500), f"restarts: {ends}"
