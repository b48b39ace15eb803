"""Does what a run left behind add up? Pure: artefacts in, findings out.

Each check names what it found in one word, so that a test can say which one must fire. What must stay true: a clean run
has no finding, and an artefact that is missing, doubled, moved or invented has at least one.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streams.contracts.journal import BatchState

RECORDS_MAX = 500
REQUESTS_WINDOW_S = 60.0
MINTS_WINDOW_S = 1800.0

# Digits that stand alone; parts of a UUID or of a hash do not.
_NUMBER = re.compile(r"(?<![0-9A-Za-z-])\+?([0-9]{10,15})(?![0-9A-Za-z-])")
_NATIONAL_DIGITS = 10

_FINAL_AFTER_ACCEPTED = {"delivered", "failed", "unknown"}
_NEVER_SENT = {"invalid", "expired", "rejected"}


class Source(NamedTuple):
    """Where an intent was read: partition and offset of the intents topic."""

    partition: int
    offset: int


class Intent(NamedTuple):
    """What can be read of a published intent; ``None`` throughout where it is no JSON object."""

    account_id: str | None
    caller: str | None
    receiver: str | None
    label_id: str | None
    starts_at: int | None


class Outcome(NamedTuple):
    """One outcome of an intent, in the order of its topic."""

    source: Source
    status: str
    final: bool
    sequence: int
    batch_id: str | None
    possible_duplicate: bool


class JournalState(NamedTuple):
    """One value of a batch's journal entry, where it stands in the journal, and when it was produced (epoch ms)."""

    offset: int
    state: BatchState
    at_ms: int = 0


@dataclass(slots=True)
class Story:
    """All that the journal said about one batch: its sources, and its states in order."""

    partition: int
    sources: tuple[Source, ...] = ()
    states: list[JournalState] = field(default_factory=list)

    def open_at(self, ends: Mapping[int, int]) -> bool:
        """Whether the batch was open where the journal ended like this."""
        before = [each.state for each in self.states if each.offset < ends.get(self.partition, 0)]
        return bool(before) and before[-1] is BatchState.OPEN


@dataclass(slots=True)
class Artefacts:
    """What a run left behind.

    ``parcels`` are the sources in each parcel message. ``ledger`` are the requests that the fake API saw. ``texts`` are
    what people may read (logs, metrics, outcomes, request records) by name. ``crashes`` are the ends of the journal, by
    partition, each time an owner of lanes ended without handing over; ``None`` where nobody knows.
    """

    intents: dict[Source, Intent]
    outcomes: list[Outcome]
    dead_letters: list[Source]
    parcels: list[list[Source]]
    journal: dict[str, Story]
    ledger: list[dict[str, Any]]
    texts: dict[str, str] = field(default_factory=dict)
    crashes: list[dict[int, int]] | None = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the run had to keep to. ``accounts`` has the caller and the label of each; ``None`` is no limit."""

    accounts: Mapping[str, tuple[str, str]]
    requests_per_minute: int | None = None
    mints_per_30_min: int | None = None
    secrets: Sequence[str] = ()


class Finding(NamedTuple):
    """Something that does not add up: the ``name`` of the check, and where."""

    name: str
    where: str


def audit(found: Artefacts, rules: Rules) -> list[Finding]:
    """Hold the artefacts of a run that has settled against everything that must be true of them."""
    checks: tuple[Callable[[Artefacts, Rules], Iterator[Finding]], ...] = (
        _finals,
        _routing,
        _payloads,
        _truth,
        _duplicates,
        _crashes,
        _shapes,
        _budget,
        _leaks,
    )
    return [finding for check in checks for finding in check(found, rules)]


def figures(found: Artefacts) -> dict[str, Any]:
    """What to say about a run in one line."""
    times = _applied_times(found)
    return {
        "intents": len(found.intents),
        "finals": dict(Counter(each.status for each in found.outcomes if each.final)),
        "dead_letters": len(found.dead_letters),
        "parcels": len(found.parcels),
        "batches": len(found.journal),
        "requests": dict(Counter(f"{line['kind']} {line['status']}" for line in _requests(found))),
        "over_limit": sum(bool(line.get("over_limit")) for line in _requests(found)),
        "applied_twice": sum(count > 1 for count in times.values()),
        "flagged": len(_flagged(found)),
    }


def _finals(found: Artefacts, _rules: Rules) -> Iterator[Finding]:
    """Every intent has one final outcome, the last of 0, 1, 2…"""
    of_source: dict[Source, list[Outcome]] = defaultdict(list)
    for outcome in found.outcomes:
        of_source[outcome.source].append(outcome)
    for source in found.intents.keys() - of_source.keys():
        yield Finding("lost", f"{source}: no outcome")
    for source, outcomes in of_source.items():
        if source not in found.intents:
            yield Finding("invented_outcome", f"{source}: {outcomes}")
            continue
        outcomes.sort(key=lambda each: each.sequence)
        if [each.sequence for each in outcomes] != list(range(len(outcomes))):
            yield Finding("sequence", f"{source}: {outcomes}")
        if not outcomes[-1].final:
            yield Finding("lost", f"{source}: ends with {outcomes[-1]}")
        if sum(each.final for each in outcomes) > 1:
            yield Finding("final_twice", f"{source}: {outcomes}")
        if not _possible_course([each.status for each in outcomes]):
            yield Finding("course", f"{source}: {outcomes}")


def _possible_course(statuses: list[str]) -> bool:
    """A final one alone, or after ``accepted``, or after ``unresolved``, or after one and then the other."""
    match statuses:
        case ["unresolved", "accepted", last] | ["accepted", last]:
            return last in _FINAL_AFTER_ACCEPTED
        case ["unresolved", last]:
            return last == "unknown"
        case [_]:
            return True
    return False


def _routing(found: Artefacts, _rules: Rules) -> Iterator[Finding]:
    """Every intent is in one parcel, or is invalid with a dead letter, or has expired."""
    parcels = Counter(source for parcel in found.parcels for source in parcel)
    letters = Counter(found.dead_letters)
    finals = {each.source: each.status for each in found.outcomes if each.final}
    for source, count in (parcels | letters).items():
        if source not in found.intents:
            yield Finding("invented_source", f"{source}: in {count} parcels or dead letters")
    for source in found.intents:
        status, in_parcels, in_letters = finals.get(source), parcels[source], letters[source]
        if in_parcels > 1:
            yield Finding("parcel_twice", f"{source}: in {in_parcels} parcels")
        if in_parcels and status == "invalid":
            yield Finding("parcel_of_invalid", f"{source}")
        if not in_parcels and status not in {"invalid", "expired"}:
            yield Finding("not_routed", f"{source}: ended as {status}")
        if in_letters != (status in {"invalid", "rejected"}):
            yield Finding("dead_letter", f"{source}: {in_letters} dead letters, ended as {status}")


def _requests(found: Artefacts) -> Iterator[dict[str, Any]]:
    # One without a kind was cut off before it could be read.
    return (line for line in found.ledger if line["kind"] is not None)


def _applied(found: Artefacts) -> Iterator[dict[str, Any]]:
    return (line for line in _requests(found) if line["kind"] == "post" and line.get("applied"))


def _by_payload(found: Artefacts) -> dict[tuple[str, int], Source]:
    return {
        (intent.receiver, intent.starts_at): source
        for source, intent in found.intents.items()
        if intent.receiver is not None and intent.starts_at is not None
    }


def _applied_times(found: Artefacts) -> Counter[Source]:
    sources = _by_payload(found)
    keys = ((record[1].lstrip("+"), record[3]) for line in _applied(found) for record in line["records"])
    return Counter(sources[key] for key in keys if key in sources)


def _payloads(found: Artefacts, rules: Rules) -> Iterator[Finding]:
    """Every applied record is an intent as it was published, in a batch of its account."""
    sources = _by_payload(found)
    for line in _applied(found):
        for caller, receiver, label_id, starts_at, _ in line["records"]:
            source = sources.get((receiver.lstrip("+"), starts_at))
            intent = found.intents[source] if source else None
            if intent is None:
                yield Finding("invented_payload", f"batch {line['batch_id']}")
            elif (caller.lstrip("+"), label_id) != (intent.caller, intent.label_id):
                yield Finding("changed_payload", f"{source} in batch {line['batch_id']}")
            if (caller.lstrip("+"), label_id) != rules.accounts.get(line["account"]):
                yield Finding("foreign_account", f"batch {line['batch_id']} of {line['account']}")


def _truth(found: Artefacts, _rules: Rules) -> Iterator[Finding]:
    """What is called accepted was applied under that name; what was applied is not called anything less."""
    sources = _by_payload(found)
    batches = {
        line["batch_id"]: {sources.get((record[1].lstrip("+"), record[3])) for record in line["records"]}
        for line in _applied(found)
    }
    times = _applied_times(found)
    for outcome in found.outcomes:
        if outcome.status == "accepted" and outcome.source not in batches.get(outcome.batch_id, ()):
            yield Finding("phantom", f"{outcome}")
        if outcome.status in _NEVER_SENT and times[outcome.source]:
            yield Finding("lie", f"{outcome} was applied")


def _duplicates(found: Artefacts, _rules: Rules) -> Iterator[Finding]:
    """Applied twice is only what was ambiguous, and it is flagged."""
    batch_of = {source: ref for ref, story in found.journal.items() for source in story.sources}
    flagged = _flagged(found)
    for source, times in _applied_times(found).items():
        story = found.journal.get(batch_of.get(source, ""))
        if story is None:
            yield Finding("not_journaled", f"{source}")
        elif times > 1 and source not in flagged:
            yield Finding("not_flagged", f"{source}: applied {times} times")
        elif sum(each.state is BatchState.AMBIGUOUS for each in story.states) < times - 1:
            yield Finding("unexplained_duplicate", f"{source}: applied {times} times, {story.states}")
    for source, count in Counter(source for story in found.journal.values() for source in story.sources).items():
        if count > 1:
            yield Finding("batch_twice", f"{source}: in {count} batches")


def _crashes(found: Artefacts, _rules: Rules) -> Iterator[Finding]:
    """Flagged is only what was open at a crash, where all crashes are known and the API made nothing ambiguous."""
    if found.crashes is None:
        return
    flagged = _flagged(found)
    for ref, story in found.journal.items():
        if flagged.intersection(story.sources) and not any(story.open_at(ends) for ends in found.crashes):
            yield Finding("flagged_without_crash", f"batch {ref}: {story.states}")


def _flagged(found: Artefacts) -> set[Source]:
    return {each.source for each in found.outcomes if each.final and each.possible_duplicate}


def _shapes(found: Artefacts, _rules: Rules) -> Iterator[Finding]:
    """A batch has 1 to 500 records, none of them twice."""
    for line in _applied(found):
        records = line["records"]
        if not 1 <= len(records) <= RECORDS_MAX:
            yield Finding("batch_size", f"batch {line['batch_id']}: {len(records)} records")
        if len({(record[1], record[3]) for record in records}) < len(records):
            yield Finding("record_twice", f"batch {line['batch_id']}")


def _budget(found: Artefacts, rules: Rules) -> Iterator[Finding]:
    """No token and no account was ever used beyond its limit, in any window of the API's clock."""
    requests: dict[tuple[str, int], list[float]] = defaultdict(list)
    mints: dict[str, list[float]] = defaultdict(list)
    for line in _requests(found):
        if line.get("over_limit"):
            yield Finding("over_limit", f"{line['kind']} of {line['account']}")
        if line["kind"] == "mint":
            mints[line["account"]].append(line["received_mono"])
        elif line.get("token") is not None:
            requests[line["account"], line["token"]].append(line["received_mono"])
    for (account, token), times in requests.items():
        if _exceeds(times, rules.requests_per_minute, REQUESTS_WINDOW_S):
            yield Finding("rate", f"token {token} of {account}")
    for account, times in mints.items():
        if _exceeds(times, rules.mints_per_30_min, MINTS_WINDOW_S):
            yield Finding("mints", account)


def _exceeds(times_s: list[float], limit: int | None, window_s: float) -> bool:
    if limit is None:
        return False
    ordered = sorted(times_s)
    return any(later - earlier < window_s for earlier, later in zip(ordered, ordered[limit:], strict=False))


def _leaks(found: Artefacts, rules: Rules) -> Iterator[Finding]:
    """No number of anybody, no token and no key stands where people read."""
    numbers = {number for intent in found.intents.values() for number in intent[1:3] if number}
    numbers |= {number[-_NATIONAL_DIGITS:] for number in numbers}
    for name, text in found.texts.items():
        if any(digits in numbers for digits in _NUMBER.findall(text)):
            yield Finding("leaked_number", name)
        if any(secret in text for secret in rules.secrets):
            yield Finding("leaked_secret", name)
