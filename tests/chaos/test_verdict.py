"""The verdict on made-up runs: a clean one is valid, and each thing that is wrong makes it invalid and is named."""

import pytest

from streams.audit.intents import Source
from streams.contracts.journal import BatchState
from tests.chaos.arena import Fired, Plot
from tests.chaos.keeper import Ended
from tests.chaos.schedule import Kind
from tests.chaos.verdict import Evidence, judge
from tests.e2e.audit import Artefacts, Finding, Intent, JournalState, Outcome, Story

KILLED_S = 1000.0


def story(number, *states):
    return Story(0, (Source(0, number),), [JournalState(n, state, at_ms) for n, (state, at_ms) in enumerate(states)])


def outcome(number, status="accepted", *, final=False, flagged=False):
    return Outcome(Source(0, number), status, final, 0, "b", flagged)


def applied(number):
    record = ["91", f"+91{number}", "label", 5, None]
    return {"kind": "post", "applied": True, "status": 200, "batch_id": "b", "records": [record]}


def artefacts(count=100):
    """A run in which batch 1 was open at the kill, and everything was applied once."""
    quiet = ((BatchState.OPEN, 10), (BatchState.ACCEPTED, 20))
    doubtful = ((BatchState.OPEN, 999_990), (BatchState.AMBIGUOUS, 1_004_000), (BatchState.OPEN, 1_040_000))
    return Artefacts(
        {Source(0, n): Intent("a", "91", f"91{n}", "label", 5) for n in range(count)},
        [outcome(n) for n in range(count)],
        {f"batch-{n}": story(n, *(doubtful if n == 1 else quiet)) for n in range(count)},
        [applied(n) for n in range(count)],
    )


def fired(kind, victim="worker-0"):
    return Fired(kind, KILLED_S, KILLED_S, victim, frozenset({0}))


def evidence(**changes):
    content = {
        "plot": Plot(60, 1, rate=2),
        "published": 100,
        "fired": [fired(Kind.KILL), fired(Kind.KILL), fired(Kind.PAUSE), fired(Kind.BROKER_KILL)],
        "ended": [Ended("worker-0", KILLED_S, -9, frozenset({0}))],
        "last_codes": {"worker-0": 0},
        "findings": [],
        "pending": 0,
        "seconds": 61.0,
        "verified": {"verdict": "valid"},
        **changes,
    }
    return Evidence(**content)


def test_a_clean_run_is_valid():
    told = judge(evidence(), artefacts())
    assert told["problems"] == []
    assert told["verdict"] == "valid"
    assert (told["lost"], told["applied_twice"], told["in_flight_at_kills"]) == (0, 0, 1)
    assert (told["kills"], told["pauses"], told["broker_restarts"], told["intents"]) == (2, 1, 1, 100)


def test_what_was_in_flight_at_a_kill_may_be_applied_twice():
    found = artefacts()
    found.ledger.append(applied(1))
    told = judge(evidence(), found)
    assert (told["verdict"], told["applied_twice"], told["in_flight_at_kills"]) == ("valid", 1, 1)


def test_what_is_held_is_counted_in_batches():
    found = artefacts()
    found.outcomes.append(outcome(1, "unresolved"))
    told = judge(evidence(plot=Plot(60, 1, policy="hold", rate=2)), found)
    assert (told["verdict"], told["unresolved"], told["in_flight_at_kills"]) == ("valid", 1, 1)


@pytest.mark.parametrize(
    ("named", "changes", "change"),
    [
        pytest.param("lost", {"findings": [Finding("lost", "0/7: no outcome")]}, None, id="an intent is lost"),
        pytest.param("verify says", {"verified": {"verdict": "unknown"}}, None, id="the auditor cannot tell"),
        pytest.param("no final outcome", {"pending": 3}, None, id="intents are pending"),
        pytest.param("kill happened", {"fired": [fired(Kind.PAUSE), fired(Kind.BROKER_KILL)]}, None, id="no kill"),
        pytest.param("published", {"published": 50}, None, id="little was published"),
        pytest.param("accepted", {}, lambda f: f.outcomes.__delitem__(slice(0, 20)), id="little was accepted"),
        pytest.param("ended with 3", {"ended": [Ended("w", 1.0, 3, frozenset())]}, None, id="a strange end"),
        pytest.param("when all was well", {"last_codes": {"w": 1}}, None, id="a crash when all is well"),
        pytest.param("nothing happened to", {}, lambda f: f.ledger.append(applied(2)), id="applied twice for nothing"),
        pytest.param("unresolved", {}, lambda f: f.outcomes.append(outcome(1, "unresolved")), id="policy retry"),
        pytest.param(
            "under the policy hold",
            {"plot": Plot(60, 1, policy="hold", rate=2)},
            lambda f: f.ledger.append(applied(1)),
            id="policy hold, applied twice",
        ),
        pytest.param(
            "unresolved though nothing",
            {"plot": Plot(60, 1, policy="hold", rate=2)},
            lambda f: f.outcomes.append(outcome(2, "unresolved")),
            id="policy hold, in doubt for nothing",
        ),
    ],
)
def test_what_is_wrong_is_named(named, changes, change):
    found = artefacts()
    if change is not None:
        change(found)
    told = judge(evidence(**changes), found)
    assert told["verdict"] == "invalid"
    assert any(named in problem for problem in told["problems"]), told["problems"]
