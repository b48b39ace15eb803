"""Workers that are told to stop, and workers that must not start: in order, and with a word on why."""

import signal
import time

import pytest

from streams.settings import REVOKE_BOUND_S
from tests.e2e.artefacts import Outcomes, audited, collect, figures, findings_of
from tests.e2e.world import PARTITIONS, SOON_S, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.mark.faults("F83")
def test_a_worker_told_to_stop_under_load_hands_everything_over(quick, new_world):
    world = new_world(quick.bootstrap).make_topics()
    world.publish(20_000)
    world.start_api()
    outcomes = Outcomes(world)
    first = world.start_worker("worker-0")
    with world.load(1000):
        until(lambda: world.applied() > 5_000, 60, "some are applied")
        first.signal(signal.SIGTERM)
        told_s = time.monotonic()
        assert first.wait(40) == 0
        assert time.monotonic() - told_s < 10, "nothing is in the way of a quick end"
        (drained,) = first.events("drained")
        assert drained["unknown"] == 0
        assert drained["handed_back"] + drained["sent"] + drained["batches_handed_back"] > 0, "it was under load"
        world.start_worker("worker-0")
    outcomes.until_final(world.published, 60)
    report = audited(world, collect(world, outcomes))
    assert not findings_of(report), figures(report)
    assert report.applied_twice == report.possible_duplicates == 0
    assert report.covered["ledger"]["requests"]["mint 200"] == len(world.accounts), "the tokens are used again"


@pytest.mark.faults("F83")
@pytest.mark.parametrize("under_way", [0, 200], ids=["nothing", "a POST"])
def test_a_worker_told_to_stop_while_nothing_or_a_post_is_under_way(quick, new_world, under_way):
    # Below the session timeout of 3 s: a consumer that closes may not tell the group any more that it lives.
    deadline_s = 1
    world = new_world(quick.bootstrap, api={"post_deadline_s": deadline_s}).make_topics()
    world.start_api(faults="post.hang=1" if under_way else "")
    worker = world.start_worker("worker-0")
    until(lambda: len(worker.owned()) == PARTITIONS, 60, "it is ready")
    world.publish(under_way)
    until(lambda: not under_way or world.applied(), 60, "the API has taken a batch, and says nothing")
    worker.signal(signal.SIGTERM)
    told_s = time.monotonic()
    assert worker.wait(60) == 0
    assert time.monotonic() - told_s < deadline_s + 10
    (handed_over,) = worker.events("partitions_handed_over")
    assert handed_over["unknown"] == 0, "it has waited for the answer, in vain, and the journal says so"


def test_a_worker_told_to_stop_while_kafka_is_away_says_what_it_leaves_and_ends(kafka_to_break, new_world):
    world = new_world(kafka_to_break.bootstrap).make_topics()
    world.publish(20_000)
    world.start_api()
    worker = world.start_worker("worker-0")
    until(lambda: world.applied() > 2_000, 60, "some are applied")
    kafka_to_break.nodes[0].stop()
    worker.signal(signal.SIGTERM)
    told_s = time.monotonic()
    assert worker.wait(60) in {1, 70}
    assert time.monotonic() - told_s < REVOKE_BOUND_S + 10
    (drained,) = worker.events("drained")
    assert drained["cut_off"]
    assert drained["handed_back"] + drained["unknown"] + drained["batches_handed_back"] > 0
    kafka_to_break.nodes[0].start()
    kafka_to_break.nodes[0].wait_ready()


@pytest.mark.parametrize(
    ("already_published", "code"),
    [pytest.param(5_000, 1, id="at work"), pytest.param(0, 3, id="that has not yet worked")],
)
@pytest.mark.faults("F23")
def test_a_second_worker_of_the_same_instance_ends_the_first(quick, new_world, already_published, code):
    world = new_world(quick.bootstrap).make_topics()
    world.publish(already_published)
    world.start_api()
    first = world.start_worker("worker-0")
    until(lambda: world.applied() >= already_published * 0.2 and first.owned(), SOON_S, "the first is ready")
    second = world.start_worker("worker-0")
    until(lambda: second.events("worker_started"), SOON_S, "the second is ready")
    with world.load(500):
        assert first.wait(30) == code
    assert f"another worker runs as {world.group}." in first.said()
    assert "give every worker its own kafka.instance" in first.said()
    assert second.code is None


@pytest.mark.parametrize("missing", ["intents", "journal"])
@pytest.mark.faults("F10", "F32")
def test_a_missing_topic_is_named_at_the_start(quick, new_world, missing):
    world = new_world(quick.bootstrap).make_topics(without=missing)
    world.api_url = "http://127.0.0.1:9"
    worker = world.start_worker("worker-0")
    assert worker.wait(30) == 3
    assert f"{world.topics[missing]}: does not exist; run `callstream topics apply`" in worker.said()


@pytest.mark.faults("F11")
def test_another_number_of_partitions_is_refused_at_the_start(quick, new_world):
    world = new_world(quick.bootstrap).make_topics(partitions=PARTITIONS + 1)
    world.api_url = "http://127.0.0.1:9"
    worker = world.start_worker("worker-0")
    assert worker.wait(30) == 3
    for name in ("parcels", "journal"):
        assert f"{world.topics[name]}: has 7 partitions, kafka.partitions is 6" in worker.said()
    assert "callstream topics apply" in worker.said()
    assert "Traceback" not in worker.said()
