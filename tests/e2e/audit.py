"""What a run left behind, as a test world reads it, and what only a test world can know to be wrong with it.

The audit itself is the product's (:mod:`streams.audit`). A world knows besides when workers crashed, every secret, and
the journal before compaction. What must stay true: a clean run has no finding.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streams.audit.intents import Source
from streams.contracts.journal import BatchState


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

    ``ledger`` are the requests that the fake API saw. ``texts`` are what people may read (logs, metrics, outcomes,
    request records) by name. ``crashes`` are the ends of the journal, by partition, each time an owner of lanes ended
    without handing over; ``None`` where nobody knows.
    """

    intents: dict[Source, Intent]
    outcomes: list[Outcome]
    journal: dict[str, Story]
    ledger: list[dict[str, Any]]
    texts: dict[str, str] = field(default_factory=dict)
    crashes: list[dict[int, int]] | None = field(default_factory=list)


class Finding(NamedTuple):
    """Something that does not add up: the ``name`` of the check, and where."""

    name: str
    where: str


def world_findings(found: Artefacts, secrets: Sequence[str]) -> Iterator[Finding]:
    """What the product's audit cannot see: flags without a crash, a second batch of an intent, a secret in a text."""
    yield from _crashes(found)
    for source, count in Counter(source for story in found.journal.values() for source in story.sources).items():
        if count > 1:
            yield Finding("batch_twice", f"{source}: in {count} batches")
    for name, text in found.texts.items():
        if any(secret in text for secret in secrets):
            yield Finding("leaked_secret", name)


def _crashes(found: Artefacts) -> Iterator[Finding]:
    """Flagged is only what was open at a crash, where all crashes are known and the API made nothing ambiguous."""
    if found.crashes is None:
        return
    flagged = {each.source for each in found.outcomes if each.final and each.possible_duplicate}
    for ref, story in found.journal.items():
        if flagged.intersection(story.sources) and not any(story.open_at(ends) for ends in found.crashes):
            yield Finding("flagged_without_crash", f"batch {ref}: {story.states}")
