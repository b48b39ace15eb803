"""An operator decides where the reading of a partition goes on: what that costs, and doing it.

What must stay true: the group's offset, the journal's note of it and the record of the decision change in one
transaction, so that a worker accepts the new position and an audit finds what was given up; nobody is in the group
while that happens; and cursors of accounts never speak of offsets that the log does not have, or new parcels would be
taken for old ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Final

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from streams.contracts.exits import ExitCode, OperatorError
from streams.contracts.journal import (
    CursorEntry,
    Entry,
    Gap,
    HeadEntry,
    JournalKey,
    Place,
    ResetEntry,
    SourceEntry,
    StartedEntry,
    encode_entry,
)
from streams.kafka.client_config import KafkaOptions, producer_config, reader_config, transactional_id
from streams.kafka.positions import INTENTS_JOURNAL_PARTITION, Positions
from streams.kafka.standing import Known, Standing, Trouble, Why, differ, mark, trouble_of_behind

_CALL_S: Final = 20.0


class OutsideTheLog(OperatorError):
    """The log does not have the offset that was asked for."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Reset:
    """One decision: partition ``standing`` goes on at ``offset``; ``known_offset`` is where callstream stood.

    ``gaps`` will never be read. ``repeated`` ``[start, end)`` will be read a second time. Cursors are cut to
    ``[cursors_start, cursors_end)``, where they speak of offsets that the log does not have.
    """

    standing: Standing
    known_offset: int | None
    offset: int
    gaps: tuple[Gap, ...]
    repeated: tuple[int, int] | None
    cursors_end: int | None
    cursors_start: int | None = None


def stood_at(standing: Standing, known: Known | None) -> int | None:
    """Where callstream stood in the topic that is there now, as far as anybody knows."""
    committed = standing.committed
    witnesses = [known, committed if committed is not None and committed.ours else None]
    return max(
        (w.offset for w in witnesses if w is not None and not differ(w.topic_id, standing.topic_id)), default=None
    )


def reset_to(
    offset: int, standing: Standing, known: Known | None, trouble: Trouble | None, lows: Mapping[str, int]
) -> Reset:
    """What going on at ``offset`` means. ``lows`` are where accounts that are behind go on reading. Pure.

    Raises:
        OutsideTheLog: The log does not have it.
    """
    if not standing.log_start <= offset <= standing.log_end:
        raise OutsideTheLog(
            f"{standing}: offset {offset} is not in the log, [{standing.log_start}, {standing.log_end})"
        )
    if trouble is not None and trouble.why is Why.RECREATED:
        skipped = (Gap(standing.topic_id, 0, offset),) if offset else ()
        return Reset(standing, trouble.gap.start, offset, (trouble.gap, *skipped), None, cursors_end=0)
    stood = stood_at(standing, known)
    reached = min(stood or 0, standing.log_end)
    overtaken = trouble_of_behind(standing, lows)
    skipped = (Gap(standing.topic_id, reached, offset),) if offset > reached else ()
    return Reset(
        standing,
        stood,
        offset,
        gaps=skipped if overtaken is None else (overtaken.gap, *skipped),
        repeated=(offset, reached) if offset < reached else None,
        cursors_end=standing.log_end if stood is not None and stood > standing.log_end else None,
        cursors_start=None if overtaken is None else standing.log_start,
    )


def entries_of(reset: Reset, positions: Positions, at_ms: int, *, intents: bool) -> Iterator[tuple[str, Entry]]:
    """What the journal gets, by key. ``positions`` are those of the partition that it goes to. Pure."""
    where = reset.standing
    name = f"{at_ms}/{where.topic}/{where.partition}"
    yield (
        str(JournalKey("reset", name)),
        ResetEntry(
            where.topic,
            where.partition,
            where.topic_id,
            reset.known_offset,
            reset.offset,
            reset.gaps,
            reset.repeated,
            where.log_start,
            where.log_end,
            at_ms,
        ),
    )
    if intents:
        known = positions.started
        # Partitions that were added and not yet read stay recognisable as such.
        partitions = where.partitions if known is None else min(known.partitions, where.partitions)
        yield str(JournalKey("started")), StartedEntry(where.topic_id, partitions)
        yield str(JournalKey("source", str(where.partition))), SourceEntry(where.topic_id, reset.offset, at_ms)
        return
    yield str(JournalKey("head")), HeadEntry(where.topic_id, reset.offset, at_ms)
    for account_id, cursor in positions.cursors.items():
        fitting = fit(cursor, reset.cursors_start, reset.cursors_end)
        if fitting != cursor:
            yield str(JournalKey("cursor", account_id)), fitting


def fit(cursor: CursorEntry, start: int | None, end: int | None) -> CursorEntry:
    """A cursor that says nothing of offsets below ``start``, nor at or beyond ``end``."""
    if end is not None:
        last = Place(end, 0)
        taken = tuple((begun, min(ended, last)) for begun, ended in cursor.taken if begun < last)
        cursor = replace(cursor, low=min(cursor.low, last), taken=taken, behind=cursor.behind and cursor.low < last)
    if start is not None and cursor.low < (first := Place(start, 0)):
        taken = tuple((max(begun, first), ended) for begun, ended in cursor.taken if ended > first)
        if taken and taken[0][0] == first:
            (_, first), *rest = taken
            taken = tuple(rest)
        cursor = replace(cursor, low=first, taken=taken)
    return cursor


def execute(
    options: KafkaOptions, journal: str, resets: Sequence[tuple[Reset, int, Sequence[tuple[str, Entry]]]]
) -> None:
    """Do it, in one transaction. With each decision come its partition of the journal and what that gets.

    Raises:
        KafkaException: Kafka cannot be reached, or refuses; a group with members refuses, too. Nothing has changed.
    """
    producer = Producer(producer_config(options, transactional_id(options, "offsets")) | {"log_level": 0})
    producer.init_transactions(_CALL_S)
    producer.begin_transaction()
    try:
        for _, partition, entries in resets:
            for key, entry in entries:
                producer.produce(journal, encode_entry(entry), key.encode(), partition=partition)
        producer.flush(_CALL_S)
        positions = [
            TopicPartition(each.topic, each.partition, reset.offset, metadata=mark(each.topic_id))
            for reset, _, _ in resets
            for each in [reset.standing]
        ]
        with closing(Consumer(reader_config(options) | {"log_level": 0})) as outsider:
            producer.send_offsets_to_transaction(positions, outsider.consumer_group_metadata(), _CALL_S)
        producer.commit_transaction(_CALL_S)
    except KafkaException:
        with suppress(KafkaException):
            producer.abort_transaction(_CALL_S)
        raise


def journal_partition(standing: Standing, *, intents: bool) -> int:
    """The partition of the journal that speaks of a consumed partition."""
    return INTENTS_JOURNAL_PARTITION if intents else standing.partition
