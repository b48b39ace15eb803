"""What the journal says of offsets: how far parcels and intents were consumed, and what an operator decided.

Only the few small entries about positions are decoded. What must stay true: the last value of a key is the truth, as
for lanes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from streams.contracts.journal import (
    CursorEntry,
    HeadEntry,
    JournalKey,
    ResetEntry,
    SourceEntry,
    StartedEntry,
    decode_entry,
)
from streams.kafka.client_config import KafkaOptions
from streams.kafka.replay import one_by_one, replay
from streams.kafka.standing import Known, Standing, Trouble, differ, trouble_of, trouble_of_behind, trouble_of_unread

# The partition of the journal that speaks of the intents topic.
INTENTS_JOURNAL_PARTITION = 0

_DECODED = frozenset({"cursor", "head", "reset", "source", "started"})


@dataclass(slots=True)
class Positions:
    """The entries about positions in one partition of the journal: cursors by account, sources by partition.

    ``unreadable``: why that partition could not be read, by those who go on all the same; the rest is then unknown.
    """

    head: HeadEntry | None = None
    started: StartedEntry | None = None
    sources: dict[int, SourceEntry] = field(default_factory=dict)
    cursors: dict[str, CursorEntry] = field(default_factory=dict)
    resets: dict[str, ResetEntry] = field(default_factory=dict)
    unreadable: str | None = None

    def apply(self, messages: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Apply the next messages, as key and value.

        Raises:
            UnreadableMessage: An entry about positions is damaged, or of a version that this release does not know.
        """
        for key, value in messages:
            parsed = JournalKey.parse(key)
            if parsed.kind not in _DECODED:
                continue
            if value is None:
                self.cursors.pop(parsed.name, None)
                continue
            match decode_entry(parsed, value):
                case HeadEntry() as entry:
                    self.head = entry
                case StartedEntry() as entry:
                    self.started = entry
                case SourceEntry() as entry:
                    self.sources[int(parsed.name)] = entry
                case CursorEntry() as entry:
                    self.cursors[parsed.name] = entry
                case ResetEntry() as entry:
                    self.resets[parsed.name] = entry

    def known_of_intents(self, partition: int) -> Known | None:
        """How far a partition of the intents was routed, as far as the journal says."""
        source = self.sources.get(partition)
        return None if source is None else Known(source.offset, source.topic_id, source.at)

    def added(self, standing: Standing) -> bool:
        """Whether a partition of the intents was added since reading began: nothing of it was to be skipped."""
        return self.started is not None and standing.partition >= self.started.partitions


def known_of_parcels(head: HeadEntry | None) -> Known | None:
    """How far a partition of the parcels was consumed, as far as its journal partition says."""
    return None if head is None else Known(head.offset, head.topic_id, head.at)


def trouble_of_intents(standing: Standing, positions: Positions) -> Trouble | None:
    """What is wrong with a partition of the intents, given partition 0 of the journal."""
    known, started = positions.known_of_intents(standing.partition), positions.started
    if known is None and started is not None and differ(started.topic_id, standing.topic_id):
        known = Known(0, started.topic_id)
    trouble = trouble_of(standing, known)
    if trouble is None and positions.added(standing):
        trouble = trouble_of_unread(standing)
    return trouble


def trouble_of_parcels(
    standing: Standing, head: HeadEntry | None, cursors: Mapping[str, CursorEntry]
) -> Trouble | None:
    """What is wrong with a partition of the parcels, given its partition of the journal.

    Nobody but callstream writes parcels, so none of them was ever meant to be skipped.
    """
    return (
        trouble_of(standing, known_of_parcels(head))
        or (trouble_of_unread(standing) if head is None else None)
        or trouble_of_behind(standing, lows_of(cursors))
    )


def lows_of(cursors: Mapping[str, CursorEntry]) -> dict[str, int]:
    """Where accounts that are behind go on reading, by account."""
    return {account_id: cursor.low.offset for account_id, cursor in cursors.items() if cursor.behind}


async def read_positions(options: KafkaOptions, journal: str, partition: int) -> Positions:
    """Read a partition of the journal to its end.

    Raises:
        ReplayStalled: its end cannot be reached.
        JournalUnreadable: it is damaged, or has an entry about positions that this release does not know.
        KafkaException: it cannot be read.
    """
    positions = Positions()

    await replay(options, journal, partition, one_by_one(lambda key, value: positions.apply([(key, value)])))
    return positions
