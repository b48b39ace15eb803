"""The API's limits, against a fake that keeps them strictly: used to the last request, and never exceeded."""

import signal

import pytest

from streams.audit.rules import Limits
from tests.e2e.artefacts import Outcomes, audited, collect, figures, findings_of
from tests.e2e.world import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(180)]

LIMIT = 60


@pytest.mark.faults("F40")
def test_the_budget_of_a_minute_is_used_and_not_exceeded_across_a_restart(quick, new_world):
    limits = {"requests_per_minute_per_token": LIMIT, "token_mints_per_30_min": 10}
    world = new_world(quick.bootstrap, accounts=1, limits=limits).make_topics()
    world.publish(60_000)
    world.start_api(limits="strict")
    outcomes = Outcomes(world)

    def requests():
        return [line["received_mono"] for line in world.ledger_lines() if line["kind"] != "mint"]

    first = world.start_worker("worker-0")
    until(lambda: len(requests()) >= LIMIT // 3, 60, "a third of the budget is used")
    first.signal(signal.SIGTERM)
    assert first.wait(40) == 0
    second = world.start_worker("worker-0")
    until(lambda: len(requests()) >= LIMIT + 15, 120, "the second minute has begun")
    second.signal(signal.SIGTERM)
    assert second.wait(40) == 0
    report = audited(world, collect(world, outcomes), Limits(LIMIT, 10))
    assert not findings_of(report), figures(report)
    assert report.budget["kept"]
    assert report.budget["ledger"]["kept"]
    assert not [line for line in world.ledger_lines() if line["status"] == 429]
    times_s = sorted(requests())
    busiest = max(sum(start <= each < start + 60 for each in times_s) for start in times_s)
    assert busiest >= LIMIT - 5, "the rest is doubt about clocks, and the spacing"
