"""What only a test world can know: each thing that is wrong is found under its own name."""

import copy

import pytest

from streams.audit.intents import Source
from streams.contracts.journal import BatchState
from tests.e2e.audit import Artefacts, Intent, JournalState, Outcome, Story, world_findings

SECRETS = ["the-api-key"]
SOURCES = {f"b{n}": tuple(Source(0, 10 * n + i) for i in range(4)) for n in range(2)}
RESENT = "b1"  # it was open when its owner was killed, and went twice


def clean():
    states = {
        "b0": [BatchState.OPEN, BatchState.ACCEPTED],
        RESENT: [BatchState.OPEN, BatchState.AMBIGUOUS, BatchState.OPEN, BatchState.ACCEPTED],
    }
    return Artefacts(
        {source: Intent("a", "91", "92", "label", 5) for sources in SOURCES.values() for source in sources},
        [Outcome(s, "delivered", True, 1, ref, ref == RESENT) for ref, sources in SOURCES.items() for s in sources],
        {
            ref: Story(0, SOURCES[ref], [JournalState(10 * number + n, state) for n, state in enumerate(of_batch)])
            for number, (ref, of_batch) in enumerate(states.items())
        },
        [],
        {"log": "batch 01a20186-4c71-7411-8750-919800000001, 4 records"},
        [{0: 11}],
    )


def flagged_but_not_open_at_the_crash(found):
    found.crashes = [{0: 14}]


def flagged_without_any_crash(found):
    found.crashes = []


def in_two_batches(found):
    found.journal["b9"] = copy.deepcopy(found.journal["b0"])


def a_key_in_a_log(found):
    found.texts["log"] += "Bearer the-api-key"


def test_a_clean_run_has_no_finding():
    assert not list(world_findings(clean(), SECRETS))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        pytest.param(change, name, id=change.__name__)
        for change, name in (
            (flagged_but_not_open_at_the_crash, "flagged_without_crash"),
            (flagged_without_any_crash, "flagged_without_crash"),
            (in_two_batches, "batch_twice"),
            (a_key_in_a_log, "leaked_secret"),
        )
    ],
)
def test_one_thing_that_is_wrong_is_found(change, name):
    found = clean()
    change(found)
    assert {finding.name for finding in world_findings(found, SECRETS)} == {name}


def test_where_crashes_are_unknown_an_ambiguous_answer_explains_a_flag():
    found = clean()
    found.crashes = None
    assert not list(world_findings(found, SECRETS))
