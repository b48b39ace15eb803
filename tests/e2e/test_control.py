"""The control: a program that is known to lose data is reported as losing data, under the same auditor.

The same program without the failure is not, so that it is the failure that is found.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streams.audit.rules import AuditRules, Limits
from streams.kafka.client_config import KafkaOptions
from streams.kafka.topic_names import TopicNames
from streams.kafka.verify import Verifier
from streams.sandbox.dialer import Dialer
from tests.e2e.world import PARTITIONS, ROOT, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(120)]

INTENTS = 3_000


@pytest.fixture
def control(quick, new_world):
    """``control(fails)``: run the program until it has committed everything; the report on what it left behind."""
    running = []

    def run(fails):
        world = new_world(quick.bootstrap, accounts=1).make_topics()
        publish(world)
        world.start_api()
        told = {
            "BOOTSTRAP": world.bootstrap,
            "GROUP": world.group,
            "INTENTS": world.topics["intents"],
            "OUTCOMES": world.topics["outcomes"],
            "API": world.api_url,
            "ACCOUNT": world.accounts[0].id,
            "FAILS": str(fails),
        }
        environ = os.environ | {f"CONTROL_{name}": text for name, text in told.items()}
        log = world.directory / "faust.log"
        command = [sys.executable, "-m", "tests.e2e.idiomatic_faust", "--datadir", str(world.directory), "worker"]
        with log.open("wb") as out:
            program = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=out, stderr=out)
        running.append(program)
        until(lambda: committed(world) == INTENTS, 40, lambda: log.read_text()[-3000:])
        program.send_signal(signal.SIGTERM)
        rules = AuditRules(world.topics["intents"], Limits(1_000, 1_000), with_ledger=True)
        options = KafkaOptions(world.bootstrap, world.group, "control")
        return Verifier(options, TopicNames(**world.topics), rules, ledger=world.ledger).run()

    yield run
    for program in running:
        program.kill()
        program.wait()


def publish(world):
    """Good intents of one account, not compressed: Faust's own transport comes without the codecs."""
    producer = Producer({"bootstrap.servers": world.bootstrap})
    for number, dialed in enumerate(
        Dialer(world.accounts, seed=7, bad_share=0).take(INTENTS, time.time_ns() // 1_000_000)
    ):
        producer.produce(world.topics["intents"], dialed.value, partition=number % PARTITIONS)
    assert producer.flush(10) == 0


def committed(world):
    """How far Faust says that it is, over all partitions."""
    asking = Consumer({"bootstrap.servers": world.bootstrap, "group.id": world.group})
    try:
        places = [TopicPartition(world.topics["intents"], partition) for partition in range(PARTITIONS)]
        return sum(max(0, place.offset) for place in asking.committed(places, timeout=10))
    finally:
        asking.close()


def test_an_idiomatic_faust_program_loses_the_batch_whose_post_fails(control):
    report = control(fails=2)
    assert report.verdict == "invalid"
    # The batch, and what else its agent had taken when it was started again.
    lost = report.anomalies["lost"].count
    assert lost >= 500
    assert report.applied == INTENTS - lost


def test_without_the_failure_it_loses_nothing(control):
    report = control(fails=0)
    # It has no parcels, which the auditor misses; no intent is lost and none was applied twice.
    assert set(report.anomalies) == {"parcel_missing"}
    assert (report.applied, report.applied_twice) == (INTENTS, 0)
