"""What a run of chaos proves: its artefacts in, one flat answer out.

The audit says whether everything adds up; what is decided here is the bound on what was applied twice. The API knows no
idempotency key, so a batch whose POST was under way when its owner, its network or its Kafka went away may be applied
twice; nothing else may. What must stay true: a run in which little happened is not valid, however clean.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.audit.intents import Source
from streams.contracts.exits import ExitCode
from streams.contracts.journal import BatchState
from tests.chaos.arena import Fired, Plot
from tests.chaos.keeper import EXPECTED_CODES, Ended
from tests.chaos.schedule import Kind, floors
from tests.e2e.audit import Artefacts, Finding, Story

# A commit that was on its way when a fault began may still succeed.
AFTERMATH_S = 1.5
BEFORE_S = 0.2

_BROKER_BACK = (Kind.BROKER_RESTART, Kind.BROKER_KILL)
_LOST = frozenset({"lost", "outcome_missing"})
# Ends by themselves that are no kill of ours, but end an owner of lanes all the same.
_CRASHES = frozenset({ExitCode.CRASH, ExitCode.PRECONDITION, ExitCode.WATCHDOG})
# Of what was published, this share has to be accepted by the API: about one in a hundred is bad on purpose.
ACCEPTED_SHARE = 0.95


@dataclass(slots=True)
class Evidence:
    """What a run left behind, beside the artefacts. ``verified`` is what ``callstream verify --json`` says of it.

    ``losses`` are partitions that workers lost because Kafka heard too little of them, whatever the reason.
    """

    plot: Plot
    published: int
    fired: Sequence[Fired]
    ended: Sequence[Ended]
    last_codes: Mapping[str, int]
    findings: Sequence[Finding]
    pending: int
    seconds: float
    verified: Mapping[str, Any]
    losses: Sequence["OwnerGone"] = ()
    problems: list[str] = field(default_factory=list)


def judge(evidence: Evidence, found: Artefacts) -> dict[str, Any]:
    """The answer, ready to be printed as JSON. ``applied_twice`` and ``in_flight_at_kills`` count batches."""
    twice = applied_twice(found)
    in_flight = in_flight_at(found.journal, _ends_of_owners(evidence))
    finals = Counter(each.status for each in found.outcomes if each.final)
    unresolved = _unresolved(found)
    problems = [*evidence.problems, *_problems(evidence, found, twice, in_flight, unresolved)]
    kinds = Counter(each.kind for each in evidence.fired)
    batch_of = _batch_of(found)
    return {
        "verdict": "invalid" if problems else "valid",
        "lost": sum(finding.name in _LOST for finding in evidence.findings) + evidence.pending,
        "applied_twice": len(twice),
        "in_flight_at_kills": len(in_flight),
        "kills": kinds[Kind.KILL],
        "pauses": kinds[Kind.PAUSE],
        "broker_restarts": sum(kinds[kind] for kind in _BROKER_BACK),
        "intents": evidence.published,
        "unit": "batches in applied_twice, in_flight_at_kills and unresolved, intents elsewhere",
        "applied_twice_intents": sum(len(found.journal[ref].sources) for ref in twice if ref in found.journal),
        "unresolved": len({batch_of.get(source, str(source)) for source in unresolved}),
        "unresolved_intents": len(unresolved),
        "flagged": len({each.source for each in found.outcomes if each.final and each.possible_duplicate}),
        "finals": dict(finals),
        "terms": kinds[Kind.TERM],
        "broker_pauses": kinds[Kind.BROKER_PAUSE],
        "network_cuts": sum(count for kind, count in kinds.items() if kind.startswith(("kafka", "api"))),
        "exits": {str(code): count for code, count in sorted(Counter(each.code for each in evidence.ended).items())},
        "seed": evidence.plot.seed,
        "protocol": evidence.plot.protocol,
        "policy": evidence.plot.policy,
        "brokers": evidence.plot.brokers,
        "seconds": round(evidence.seconds),
        "problems": problems,
    }


def _batch_of(found: Artefacts) -> dict[Source, str]:
    return {source: ref for ref, story in found.journal.items() for source in story.sources}


def applied_twice(found: Artefacts) -> set[str]:
    """The batches of which the API applied an intent more than once."""
    batch_of = _batch_of(found)
    sources = {(intent.receiver, intent.starts_at): source for source, intent in found.intents.items()}
    times: Counter[Source] = Counter()
    for line in found.ledger:
        if line["kind"] == "post" and line.get("applied"):
            times.update(sources[record[1].lstrip("+"), record[3]] for record in line["records"])
    return {batch_of.get(source, f"no batch: {source}") for source, count in times.items() if count > 1}


@dataclass(frozen=True, slots=True)
class OwnerGone:
    """Something ended or cut off the owner of these parcels partitions, from and to (epoch seconds)."""

    from_s: float
    to_s: float
    partitions: frozenset[int]


def in_flight_at(journal: Mapping[str, Story], gone: Sequence[OwnerGone]) -> set[str]:
    """The batches that were open in the journal when their owner went."""
    return {
        ref
        for ref, story in journal.items()
        if any(story.partition in each.partitions and _open_within(story, each) for each in gone)
    }


def _open_within(story: Story, gone: OwnerGone) -> bool:
    from_ms, to_ms = (gone.from_s - BEFORE_S) * 1000, (gone.to_s + AFTERMATH_S) * 1000
    ends = [each.at_ms for each in story.states[1:]] + [float("inf")]
    return any(
        each.state is BatchState.OPEN and each.at_ms <= to_ms and end_ms >= from_ms
        for each, end_ms in zip(story.states, ends, strict=True)
    )


def _ends_of_owners(evidence: Evidence) -> list[OwnerGone]:
    of_faults = [
        OwnerGone(each.from_s, each.to_s if each.kind.startswith("api") else each.from_s, each.partitions)
        for each in evidence.fired
        if each.kind is not Kind.TERM
    ]
    crashed = [OwnerGone(each.at_s, each.at_s, each.owned) for each in evidence.ended if each.code in _CRASHES]
    return [*of_faults, *crashed, *evidence.losses]


def _unresolved(found: Artefacts) -> set[Source]:
    return {each.source for each in found.outcomes if each.status == "unresolved"}


def _problems(
    evidence: Evidence, found: Artefacts, twice: set[str], in_flight: set[str], unresolved: set[Source]
) -> Iterator[str]:
    counts = Counter(finding.name for finding in evidence.findings)
    for name, count in counts.items():
        first = next(finding.where for finding in evidence.findings if finding.name == name)
        yield f"{name} ({count}): {first}"
    if evidence.verified.get("verdict") != "valid":
        yield f"callstream verify says {dict(evidence.verified)}"
    if evidence.pending:
        yield f"{evidence.pending} intents have no final outcome"
    if strange := twice - in_flight:
        yield f"{len(strange)} batches were applied twice though nothing happened to their owner: {sorted(strange)[:3]}"
    if evidence.plot.policy == "hold":
        if twice:
            yield f"{len(twice)} batches were applied twice under the policy hold"
        batch_of = _batch_of(found)
        if strange := {batch_of.get(source, "none") for source in unresolved} - in_flight:
            yield f"{len(strange)} batches are unresolved though nothing happened to their owner: {sorted(strange)[:3]}"
    elif unresolved:
        yield f"{len(unresolved)} intents were unresolved under the policy retry"
    yield from _too_little(evidence, found)
    yield from _strange_ends(evidence)


def _too_little(evidence: Evidence, found: Artefacts) -> Iterator[str]:
    kinds = Counter(each.kind for each in evidence.fired)
    for kind, least in floors(evidence.plot.seconds).items():
        happened = sum(kinds[each] for each in _BROKER_BACK) if kind is Kind.BROKER_RESTART else kinds[kind]
        if happened < least:
            yield f"{kind} happened {happened} times, not {least}"
    accepted = len({each.source for each in found.outcomes if each.status == "accepted"})
    if accepted < ACCEPTED_SHARE * evidence.published and evidence.plot.policy == "retry":
        yield f"only {accepted} of {evidence.published} intents were accepted"
    if evidence.published < evidence.plot.rate * evidence.plot.seconds * 0.7:
        yield f"only {evidence.published} intents were published in {evidence.plot.seconds:g} s"


def _strange_ends(evidence: Evidence) -> Iterator[str]:
    for each in evidence.ended:
        if each.code not in EXPECTED_CODES:
            yield f"{each.instance} ended with {each.code}"
    for instance, code in evidence.last_codes.items():
        if code != ExitCode.DONE:
            yield f"{instance} ended with {code} when all was well again"
