"""Workers that die, freeze, come and go under load: every intent ends once, for ``read_committed`` readers.

What may be applied twice is what was open when its owner ended, and is flagged. ``CALLSTREAM_TEST_INTENTS`` sets how
many intents the two large runs take; 200000 is what the project promises, the default keeps CI short.
"""

import logging
import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from streams.audit.intents import Source
from streams.contracts.parcel import decode_parcel
from streams.worker.lane_runner import FRESH_S
from tests.e2e.artefacts import Follower, Outcomes, audited, collect, figures, findings_of
from tests.e2e.world import PARTITIONS, SOON_S, log_ends, until

logger = logging.getLogger(__name__)

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]

INTENTS = int(os.environ.get("CALLSTREAM_TEST_INTENTS", "60000"))
PROTOCOLS = ("consumer", "classic")


def in_both_protocols(scenario):
    """Run a scenario in both group protocols side by side: most of its time it waits."""
    with ThreadPoolExecutor(len(PROTOCOLS)) as pool:
        running = [pool.submit(scenario, protocol) for protocol in PROTOCOLS]
    for each in running:
        each.result()


def settled(world, outcomes, *, crashes=True):
    """Wait for every final outcome, then audit; returns the report (``--log-cli-level info`` shows its figures)."""
    outcomes.until_final(world.published, 120)
    report = audited(world, collect(world, outcomes, crashes=crashes))
    logger.info("%s", figures(report))
    assert not findings_of(report), figures(report)
    return report


@pytest.mark.faults("F35", "F69")
def test_a_worker_killed_in_the_middle(quick, new_world):
    world = new_world(quick.bootstrap).make_topics()
    world.publish(INTENTS)
    world.start_api()
    outcomes = Outcomes(world)
    first = world.start_worker("worker-0")
    until(lambda: world.applied() > INTENTS * 0.4, 60, "two fifths are applied")
    world.kill(first)
    world.start_worker("worker-0")
    report = settled(world, outcomes)
    assert report.outcomes["invalid"] == report.dead_letters > 0


def lane_owner(*workers):
    """Of these, the one that owns the most lanes."""
    return max(workers, key=lambda worker: len(worker.owned()))


def owned_by(*workers):
    return sorted(partition for worker in workers for partition in worker.owned()) == list(range(PARTITIONS))


@pytest.mark.faults("F19", "F86")
def test_one_of_two_workers_killed_and_one_added_under_load(quick, new_world):
    def scenario(protocol):
        world = new_world(quick.bootstrap).make_topics()
        world.publish(INTENTS // 6)
        world.start_api()
        outcomes = Outcomes(world)
        workers = [world.start_worker(f"worker-{n}", protocol) for n in range(2)]
        with world.load(1000):
            until(lambda: all(worker.events("worker_started") for worker in workers), SOON_S, "both run")
            until(lambda: world.applied() > world.published * 0.3, SOON_S, "a third is applied")
            victim = lane_owner(*workers)
            workers.remove(victim)
            world.kill(victim)
            until(lambda: owned_by(*workers), SOON_S, "the other owns all partitions")
            workers.append(world.start_worker("worker-2", protocol))
            until(workers[-1].assigned, 40, "the new one has partitions")
        settled(world, outcomes)
        for worker in workers:
            worker.signal(signal.SIGTERM)
        assert [worker.wait(40) for worker in workers] == [0, 0]

    in_both_protocols(scenario)


@pytest.mark.faults("F34")
def test_six_kills_while_routing(quick, new_world):
    def scenario(protocol):
        world = new_world(quick.bootstrap, statuses="none").make_topics()
        world.publish(INTENTS)
        world.start_api()
        routed: Counter[Source] = Counter()

        def take_parcel(message):
            parcel = decode_parcel(message.value())
            routed.update(Source(parcel.source_partition, row.source_offset) for row in parcel.rows)

        def take_letter(message):
            headers = dict(message.headers())
            place = (headers["__connect.errors.partition"], headers["__connect.errors.offset"])
            routed[Source(*map(int, place))] += 1

        parcels = Follower(world.bootstrap, world.topics["parcels"], take_parcel)
        letters = Follower(world.bootstrap, world.topics["dead_letters"], take_letter)

        def routed_beyond(count):
            parcels.read()
            return sum(routed.values()) >= count

        for kill in range(6):
            worker = world.start_worker("worker-0", protocol)
            until(lambda: routed_beyond(INTENTS * (kill + 1) / 8), 60, f"routed until kill {kill}")  # noqa: B023 - called at once
            worker.kill()
        last = world.start_worker("worker-0", protocol)
        until(lambda: last.events("worker_started"), SOON_S, "the last one runs")
        until(lambda: letters.read() + parcels.read() >= 0 and len(routed) >= INTENTS, 60, "all are routed")
        last.signal(signal.SIGTERM)
        assert last.wait(40) == 0
        parcels.read_to_end()
        letters.read_to_end()
        ends = log_ends(world.bootstrap, world.topics["intents"], range(PARTITIONS))
        assert routed == Counter(Source(p, offset) for p, end in ends.items() for offset in range(end))

    in_both_protocols(scenario)


@pytest.mark.faults("F20")
def test_a_worker_frozen_beyond_its_session(quick, new_world):
    def scenario(protocol):
        world = new_world(quick.bootstrap).make_topics()
        world.publish(INTENTS // 6)
        world.start_api()
        outcomes = Outcomes(world)
        workers = [world.start_worker(f"worker-{n}", protocol) for n in range(2)]
        with world.load(1000):
            until(lambda: all(worker.events("worker_started") for worker in workers), SOON_S, "both run")
            until(lambda: world.applied() > world.published * 0.3, SOON_S, "a third is applied")
            frozen = lane_owner(*workers)
            (heir,) = set(workers) - {frozen}
            frozen.signal(signal.SIGSTOP)
            world.note_crash()
            until(lambda: owned_by(heir), SOON_S, "the heir owns all partitions")
            frozen.signal(signal.SIGCONT)
            noticed = "the frozen one has noticed"
            until(lambda: frozen.code is not None or frozen.events("partitions_lost"), SOON_S, noticed)
        assert frozen.code in {None, 1, 70}, "a call into Kafka may have frozen, too"
        settled(world, outcomes)

    in_both_protocols(scenario)


@pytest.mark.faults("F31", "F70", "F73")
def test_a_broker_that_goes_away_under_load(kafka_to_break, new_world):
    world = new_world(kafka_to_break.bootstrap).make_topics()
    world.start_api()
    outcomes = Outcomes(world)
    with world.supervised("worker-0", "worker-1") as supervisor:
        with world.load(2000):
            until(lambda: world.applied() > 5000, 60, "the workers work")
            kafka_to_break.nodes[0].stop()
            gone_s = time.monotonic()
            quiet_s = FRESH_S + 2
            until(lambda: time.monotonic() - max(gone_s, world.called_s()) > quiet_s, 60, "the API is left alone")
            back_s = time.monotonic()
            kafka_to_break.nodes[0].start()
            kafka_to_break.nodes[0].wait_ready()
            until(lambda: world.called_s() > back_s, 60, "the API is called again")
        last_s = max(s for line in world.ledger_lines() if (s := line["received_mono"]) < back_s)
        assert last_s < gone_s + FRESH_S + 1, "no request without a commit that confirmed the lease lately"
        settled(world, outcomes, crashes=False)
    assert set(supervisor.codes) <= {0, 1, 70}
