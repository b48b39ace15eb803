"""Where the routing of each intents partition starts, and the journal's note of how far it has come.

What must stay true: the note is committed together with the offset that it names, so it never runs ahead; a partition
that the journal knows is read on only from an offset that callstream itself has committed, or that an operator has set
with ``callstream offsets reset``; of a partition that was added, no intent is skipped.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from streams.contracts.journal import JournalKey, SourceEntry, StartedEntry, encode_entry
from streams.kafka.committer import Committer
from streams.kafka.lease import Lease
from streams.kafka.message import OutMessage
from streams.kafka.positions import INTENTS_JOURNAL_PARTITION, Positions, trouble_of_intents
from streams.kafka.standing import Standing, first_start, stop_at, trouble_of
from streams.worker.clock import boot_s, read_clock

# How far the note may lag behind the committed offset. It names the gap where Kafka has lost the offset.
NOTE_PERIOD_S = 10.0


@dataclass(slots=True)
class _Note:
    """What was noted last, when, how far the partition has come since, and what is to be noted the first time."""

    written_at_s: float
    written: int
    reached: int
    started: StartedEntry | None


@dataclass(eq=False, slots=True)
class IntentsPositions:
    """Positions of the intents partitions of this worker. ``start_at`` is the setting; ``read`` reads the journal."""

    journal: str
    start_at: str
    read: Callable[[], Awaitable[Positions]]
    committer: Committer
    _started: bool = False
    _notes: dict[Lease, _Note] = field(default_factory=dict)

    async def start_of(self, standing: Standing) -> int:
        """The offset to read from.

        Raises:
            PartitionBlocked: Kafka and the journal contradict each other; an operator must decide.
        """
        if standing.committed is not None and standing.committed.ours:
            # The usual case: our own mark at the offset says that the topic is the same. No journal is read.
            stop_at(trouble_of(standing, None))
            return standing.committed.offset
        positions = await self.read()
        self._started = positions.started is not None
        stop_at(trouble_of_intents(standing, positions))
        return first_start(standing, "earliest" if positions.added(standing) else self.start_at)

    def assigned(self, lease: Lease) -> None:
        """Reading begins. Where it begins in the middle, that is committed at once, and so known from then on."""
        standing = lease.standing
        first = standing is not None and (standing.committed is None or not standing.committed.ours)
        # Not when partitions were added: those that nobody has read yet are told from the others by it.
        started = (
            StartedEntry(standing.topic_id, standing.partitions) if standing and first and not self._started else None
        )
        self._notes[lease] = _Note(float("-inf"), -1, lease.start_offset, started)
        if first and lease.start_offset > 0:
            self.committer.submit(lease, self.note(lease, lease.start_offset), lease.start_offset)

    def note(self, lease: Lease, offset: int) -> list[OutMessage]:
        """What to write together with ``offset``: the note, now and then."""
        note = self._notes.get(lease)
        if note is None:
            return []
        note.reached = offset
        if boot_s() - note.written_at_s < NOTE_PERIOD_S:
            return []
        note.written_at_s, note.written = boot_s(), offset
        messages = [self._source(lease, offset)]
        if note.started is not None:
            messages.append(self._message(JournalKey("started"), encode_entry(note.started)))
            note.started = None
        return messages

    def given_up(self, leases: Iterable[Lease]) -> None:
        """Note exactly how far these partitions have come, unless they are lost."""
        for lease in leases:
            note = self._notes.pop(lease, None)
            if note is not None and note.reached != note.written and note.written >= 0 and not lease.lost:
                self.committer.submit(lease, [self._source(lease, note.reached)], None)

    def _source(self, lease: Lease, offset: int) -> OutMessage:
        entry = SourceEntry(lease.topic_id, offset, read_clock().wall_ms)
        return self._message(JournalKey("source", str(lease.partition)), encode_entry(entry))

    def _message(self, key: JournalKey, value: bytes) -> OutMessage:
        return OutMessage(self.journal, value, str(key).encode(), INTENTS_JOURNAL_PARTITION)
