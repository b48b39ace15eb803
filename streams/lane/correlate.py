"""Which record of a status answer speaks of which intent.

The API echoes no reference of ours, may mask numbers and keeps no order. So records are matched on the fields that it
echoes, as a multiset. Where several intents look alike and their records disagree, nobody can tell which is which:
that is said, not guessed. What must stay true: no intent is called delivered or failed on another's record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from streams.contracts.journal import Held
from streams.lane.verdict import RecordState, RecordStatus

Key = tuple[str | int, ...]

# Fields that tell intents apart, in both shapes. The texts are left out: the API may fill in the label's own name.
_FIELDS = ("caller", "receiver", "label_id", "starts_at", "ends_at")


class Match(Enum):
    """How an intent relates to a status answer."""

    FINAL = auto()
    PENDING = auto()
    INDISTINGUISHABLE = auto()


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer tells about one intent. ``record`` is ``None`` unless ``match`` is FINAL.

    ``alone``: no other intent of the batch looks like this one, so the record is certainly its own.
    """

    match: Match
    record: RecordStatus | None = None
    alone: bool = True


@dataclass(frozen=True, slots=True)
class Correlation:
    """``told`` has one entry per intent, in order. ``strangers`` counts records that match no intent of the batch."""

    told: tuple[Told, ...]
    strangers: int

    @property
    def complete(self) -> bool:
        """Whether no intent is waiting for a state any more."""
        return all(told.match is not Match.PENDING for told in self.told)


def correlate(held: Sequence[Held], records: Sequence[RecordStatus]) -> Correlation:
    """Match the records of one answer to the intents of one batch."""
    fields = [name for name in _FIELDS if records and all(getattr(record, name) is not None for record in records)]
    by_key: dict[Key, list[RecordStatus]] = {}
    for record in records:
        by_key.setdefault(tuple(getattr(record, name) for name in fields), []).append(record)
    alike: dict[Key, list[int]] = {}
    for index, one in enumerate(held):
        alike.setdefault(tuple(getattr(one.row, name) for name in fields), []).append(index)
    told: list[Told] = [Told(Match.PENDING)] * len(held)
    for key, indices in alike.items():
        for index, one_told in zip(indices, _tell(len(indices), by_key.pop(key, [])), strict=True):
            told[index] = one_told
    return Correlation(tuple(told), sum(len(left) for left in by_key.values()))


def _tell(intents: int, records: list[RecordStatus]) -> list[Told]:
    """What the records of one key tell about the intents of that key, which look alike."""
    if len(records) < intents or any(record.state is RecordState.PENDING for record in records):
        return [Told(Match.PENDING)] * intents
    if len({record.state for record in records}) > 1:
        return [Told(Match.INDISTINGUISHABLE)] * intents
    return [Told(Match.FINAL, record, alone=intents == 1) for record in records[:intents]]
