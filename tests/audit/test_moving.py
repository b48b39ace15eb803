"""A deployment at work: whatever moves while it is read, what is in order is not called wrong."""

from random import Random

import pytest

from streams.audit.auditor import Auditor
from tests.audit.recorded import READING_ORDER, Recording, evidence_of, read

ROUNDS_MAX = 8


def verified(found: Recording, random: Random):
    """Read a growing recording as a verification does: each topic later than the one before, round by round."""
    evidence, units = evidence_of(found), random.randrange(last_unit(found))
    auditor, done = Auditor(evidence), dict.fromkeys((*READING_ORDER, "ledger"), 0)
    for number in range(ROUNDS_MAX):
        evidence.committed = found.committed("intents", units)
        evidence.custody.offsets = found.committed("parcels", units)
        for topic in READING_ORDER:
            units += random.randrange(6)
            entries = [entry for entry in found.topics[topic] if entry.unit < units]
            for entry in entries[done[topic] :]:
                read(evidence, topic, entry)
            done[topic] = len(entries)
        lines = [line for line, unit in zip(found.ledger, found.ledger_units, strict=True) if unit < units]
        assert evidence.ledger is not None
        for line in lines[done["ledger"] :]:
            evidence.ledger.line(line)
        done["ledger"] = len(lines)
        if auditor.judge():
            return auditor.report(), number + 1
    raise AssertionError(f"{auditor.moving} intents never come to rest")


def last_unit(found: Recording) -> int:
    return max(entry.unit for entries in found.topics.values() for entry in entries)


@pytest.mark.parametrize("seed", range(60))
def test_it_is_valid_at_any_moment(clean, seed):
    report, _ = verified(clean, Random(seed))
    assert (report.verdict, report.anomalies) == ("valid", {})
    assert report.pending.total() + report.outcomes.total() == report.intents


def test_suspicions_do_arise_and_vanish(clean):
    """Otherwise the test above would show nothing."""
    rounds = [verified(clean, Random(seed))[1] for seed in range(60)]
    assert max(rounds) > 1


def test_every_place_is_seen(clean):
    places = set()
    for seed in range(60):
        places |= set(verified(clean, Random(seed))[0].pending)
    assert places >= {"source", "parcel", "batch"}


def test_what_is_wrong_is_found_while_others_move(clean):
    found = clean.copy()
    lost = next(entry for entry in found.outcomes("invalid"))
    found.topics["outcomes"].remove(lost)
    report, _ = verified(found, Random(1))
    assert set(report.anomalies) == {"outcome_missing"}
