"""Where a consumed partition stands, and whether reading may go on there. Pure.

Three witnesses are heard: the group's committed offset, the log as it is now, and the journal, which is written in the
same transactions as the offset. What must stay true: reading goes on only where all three agree; where they do not, the
difference is named in offsets, and nothing is skipped or read again until an operator has said so. Every offset that
callstream commits carries a mark with the identity of the topic, so an offset that somebody else has set is known, and
so is a topic that was deleted and created anew under the same name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from streams.contracts.journal import Gap

_MARK: Final = "callstream/1"
_MARKED: Final = re.compile(rf"{_MARK}(?: (\S+))?")

REMEDY: Final = "`callstream offsets show` has the details, `callstream offsets reset` decides where reading goes on"

JOURNAL_REMEDY: Final = (
    "It may be a batch with its intents, so nothing is passed over: let an intact replica lead that partition, run the "
    'release that wrote it, or see "The journal cannot be read" in docs/operations.md'
)


class PartitionBlocked(Exception):
    """This partition must not be read until an operator has looked; the message says why. Others go on."""


class Why(StrEnum):
    """Why a partition is not read."""

    NO_OFFSET = "no_committed_offset"
    RECREATED = "topic_recreated"
    BELOW_START = "below_log_start"
    BEYOND_END = "beyond_log_end"
    MOVED = "moved_from_outside"
    OVERTAKEN = "accounts_overtaken"
    JOURNAL = "journal_unreadable"


class Committed(NamedTuple):
    """The group's offset. ``ours``: callstream committed it, to a topic of this identity."""

    offset: int
    ours: bool = False
    topic_id: str | None = None


class Known(NamedTuple):
    """What the journal says was committed at ``at`` (epoch milliseconds, 0: not said), to a topic of this identity."""

    offset: int
    topic_id: str | None
    at: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """What Kafka says of one partition: the group's offset, and its log ``[log_start, log_end)``.

    ``stable_end`` is where a ``read_committed`` reader ends now. ``topic_id`` is ``None`` where the broker does not
    tell (KIP-516). ``partitions`` is the number of partitions of the topic.
    """

    topic: str
    partition: int
    committed: Committed | None
    log_start: int
    log_end: int
    stable_end: int
    topic_id: str | None
    partitions: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why reading must not go on, and the offsets in question: lost, read again, or of unknown fate."""

    why: Why
    gap: Gap
    text: str


def mark(topic_id: str | None) -> str:
    """What goes with every offset that callstream commits."""
    return _MARK if topic_id is None else f"{_MARK} {topic_id}"


def committed_of(offset: int, metadata: str | None) -> Committed | None:
    """Read a committed offset as Kafka tells it; a negative one is none."""
    if offset < 0:
        return None
    found = _MARKED.fullmatch(metadata or "")
    return Committed(offset) if found is None else Committed(offset, ours=True, topic_id=found[1])


def trouble_of(standing: Standing, known: Known | None) -> Trouble | None:
    """What is wrong, if anything. ``known`` is ``None`` where the journal has nothing, or was not asked."""
    committed = standing.committed
    for witness in (committed, known):
        if witness is not None and differ(witness.topic_id, standing.topic_id):
            return _recreated(standing, witness.offset, witness.topic_id)
    if committed is None:
        return None if known is None else _no_offset(standing, known)
    if not standing.log_start <= committed.offset <= standing.log_end:
        return _out_of_range(standing, committed.offset)
    moved = known is not None and committed.offset != known.offset
    if known is not None and moved and (not committed.ours or committed.offset < known.offset):
        return _moved(standing, committed, known)
    return None


def trouble_of_unread(standing: Standing) -> Trouble | None:
    """What is wrong with a partition that nobody has read yet and of which everything is to be read."""
    if standing.committed is not None or standing.log_start == 0:
        return None
    gap = Gap(standing.topic_id, 0, standing.log_start)
    text = f"{standing}: was never read, and {_span(0, standing.log_start)} are gone from the log"
    return Trouble(Why.BELOW_START, gap, text)


def trouble_of_behind(standing: Standing, lows: Mapping[str, int]) -> Trouble | None:
    """What is wrong where the log has lost what accounts that are behind still had to read.

    ``lows`` are their first untaken offsets.
    """
    start = standing.log_start
    gone = {account_id: low for account_id, low in lows.items() if low < start}
    if not gone:
        return None
    spans = ", ".join(f"{account_id} has to read {_span(low, start)}" for account_id, low in sorted(gone.items()))
    return Trouble(
        Why.OVERTAKEN,
        Gap(standing.topic_id, min(gone.values()), start),
        f"{standing}: the log begins at {start}, but of accounts that are behind {spans}. Those parcels are gone: look "
        "for the cause (retention.ms of the topic)",
    )


def trouble_of_journal(standing: Standing, cause: str) -> Trouble:
    """What is wrong where the journal cannot tell. No offsets are in question; what waits in lanes is."""
    stood = 0 if standing.committed is None else standing.committed.offset
    return Trouble(Why.JOURNAL, Gap(standing.topic_id, stood, stood), f"{standing}: {cause}")


def stop_at(trouble: Trouble | None) -> None:
    """Raise :class:`PartitionBlocked` if something is wrong."""
    if trouble is not None:
        raise PartitionBlocked(f"{trouble.text}. {REMEDY}")


def first_start(standing: Standing, start_at: str) -> int:
    """Where the first reading of a partition starts: where the group was set to, else as the settings say."""
    if standing.committed is not None:
        return standing.committed.offset
    return standing.log_start if start_at == "earliest" else standing.stable_end


def differ(one: str | None, other: str | None) -> bool:
    """Whether two topic identities are both known and not the same."""
    return one is not None and other is not None and one != other


def _recreated(standing: Standing, stood: int, was: str | None) -> Trouble:
    return Trouble(
        Why.RECREATED,
        Gap(was, stood, None),
        f"{standing}: the topic was created anew (its id was {was}, now it is {standing.topic_id}). callstream "
        f"stood at offset {stood} of the old one: what that held beyond is gone. The new one has "
        f"{_log(standing)}, not yet read",
    )


def _no_offset(standing: Standing, known: Known) -> Trouble:
    return Trouble(
        Why.NO_OFFSET,
        Gap(known.topic_id, known.offset, standing.log_end),
        f"{standing}: the group has no offset any more (expired, or deleted), the journal says that {known.offset} was "
        f"committed. The log has {_log(standing)}; {_span(known.offset, standing.log_end)} may not have been read",
    )


def _out_of_range(standing: Standing, offset: int) -> Trouble:
    if offset < standing.log_start:
        why, gap = Why.BELOW_START, Gap(standing.topic_id, offset, standing.log_start)
        fate = "are gone from the log and were never read"
    else:
        why, gap = Why.BEYOND_END, Gap(standing.topic_id, standing.log_end, offset)
        fate = "were read and committed, and the log does not have them (any more)"
    return Trouble(
        why,
        gap,
        f"{standing}: the group stands at offset {offset}, the log has {_log(standing)}: "
        f"{_span(gap.start, gap.end or 0)} {fate}",
    )


def _moved(standing: Standing, committed: Committed, known: Known) -> Trouble:
    start, end = sorted((committed.offset, known.offset))
    forward = committed.offset > known.offset
    fate = "would not be read" if forward else "would be read again"
    # An offset of our own cannot run behind the journal: then it is Kafka that has lost later ones.
    who = (
        "something other than callstream has set the group's offset" if not committed.ours else "Kafka has set it back"
    )
    return Trouble(
        Why.MOVED,
        Gap(standing.topic_id, start, end),
        f"{standing}: the group stands at offset {committed.offset}, the journal says {known.offset}; {who}. "
        f"{_span(start, end)} {fate}",
    )


def _log(standing: Standing) -> str:
    return f"[{standing.log_start}, {standing.log_end})"


def _span(start: int, end: int) -> str:
    return f"{max(0, end - start)} offsets [{start}, {end})"
