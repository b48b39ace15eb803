"""Batches that nobody can be sure of, under `hold`: never sent again by themselves, resolved by an operator."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.e2e.artefacts import Outcomes, audited, collect, figures, findings_of
from tests.e2e.world import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(150)]

WORKER = "worker-0"


def statuses(outcomes):
    outcomes.final_count()
    return Counter(each.status for each in outcomes.all)


def until_no_intent_is_left(world, outcomes, timeout_s=60):
    """Every intent is either final or unresolved."""

    def there():
        told = statuses(outcomes)
        return outcomes.final_count() + told["unresolved"] >= world.published and told["unresolved"]

    until(there, timeout_s, lambda: f"{world.published} intents have an outcome; {statuses(outcomes)}")


def unresolved(world):
    return [each["batch_ref"] for each in world.ask(WORKER, "batches", "list", "--state", "unresolved")["batches"]]


def replace_api(world, api):
    """The same address, another server: it knows neither tokens nor batches, and is well."""
    port = urlsplit(world.api_url).port
    api.kill()
    world.start_api(port=port)


def api_name_of(world, shown):
    """What the API calls a batch, as its own ledger says."""
    starts = sorted(each["starts_at"] for each in shown["intents"])
    (batch_id,) = {
        line["batch_id"]
        for line in world.ledger_lines()
        if line.get("applied") and line["kind"] == "post" and line["account"] == shown["account_id"]
        if sorted(record[3] for record in line["records"]) == starts
    }
    return batch_id


def settled(world, outcomes):
    outcomes.until_final(world.published, 60)
    report = audited(world, collect(world, outcomes, crashes=False))
    assert not findings_of(report), figures(report)
    assert world.ask(WORKER, "verify", "--ledger", str(world.ledger))["verdict"] == "valid"
    return report


def operated(quick, new_world):
    """All answers are cut; a worker dies; then each of the decisions, and an account that is paused meanwhile."""
    world = new_world(quick.bootstrap, accounts=3, policy="hold").make_topics()
    world.publish(60)
    api = world.start_api(faults="post.cut=1")
    outcomes = Outcomes(world)
    first = world.start_worker(WORKER)
    until_no_intent_is_left(world, outcomes)
    told, applied = statuses(outcomes), world.applied()
    assert applied == told["unresolved"], "each once"
    world.kill(first)
    world.start_worker(WORKER)
    refs = unresolved(world)
    assert len(refs) >= 3

    accepted = world.ask(WORKER, "batches", "show", refs[0])
    world.ask(WORKER, "batches", "resolve", refs[0], "--accepted", api_name_of(world, accepted), "--yes")
    world.ask(WORKER, "batches", "resolve", refs[1], "--give-up", "--yes")
    paused = world.ask(WORKER, "batches", "show", refs[2])["account_id"]
    world.ask(WORKER, "accounts", "pause", paused)
    until(lambda: statuses(outcomes)["delivered"] > 0, 30, "the first is checked to its end")
    assert world.applied() == applied, "nothing was sent again so far"

    replace_api(world, api)
    for ref in refs[2:]:
        world.ask(WORKER, "batches", "resolve", ref, "--resend", "--yes")
    (shown,) = world.ask(WORKER, "accounts", "show", paused)["accounts"]
    assert shown["state"] == "paused"
    assert shown["batches"]["unsent"] >= 1
    assert refs[2] not in unresolved(world)
    world.ask(WORKER, "accounts", "resume", paused)
    report = settled(world, outcomes)
    sent_again = applied - statuses(outcomes)["unknown"] - len(accepted["intents"])
    assert report.applied_twice == sent_again > 0
    assert unresolved(world) == []


def killed(quick, new_world):
    """A worker dies while its requests are on their way: nothing is applied twice."""
    world = new_world(quick.bootstrap, accounts=2, policy="hold").make_topics()
    world.publish(40)
    api = world.start_api(faults="post.hang=1")
    outcomes = Outcomes(world)
    first = world.start_worker(WORKER)
    until(lambda: world.applied() > 0, 30, "a request is on its way")
    world.kill(first)
    applied = world.applied()
    replace_api(world, api)
    world.start_worker(WORKER)
    until_no_intent_is_left(world, outcomes)
    refs = unresolved(world)
    assert 1 <= len(refs) <= 4, "at most what was in flight"
    assert statuses(outcomes)["unresolved"] >= applied
    for ref in refs:
        world.ask(WORKER, "batches", "resolve", ref, "--give-up", "--yes")
    assert settled(world, outcomes).applied_twice == 0


@pytest.mark.faults("F53", "F69")
def test_what_is_in_doubt_is_held_until_an_operator_decides(quick, new_world):
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(scenario, quick, new_world) for scenario in (operated, killed)]
    for each in running:
        each.result()
