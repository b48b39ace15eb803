"""Waiting intents whose content is in the journal, because their places would have made the cursor too long.

Where an account waits for hours, intents in between expire or leave, and its cursor becomes a list of holes. The
waiting intents at its low end are then carried: written to the journal with their content, so that the cursor may move
past them. What must stay true: a record holds exactly the carried intents that still wait. It is written anew, or
forgotten, in the write that takes some of them.
"""

from collections.abc import Iterable, Iterator, Sequence

from streams.contracts.journal import Held, JournalKey, Packer, Place

JournalMessage = tuple[str, bytes | None]


class Carry:
    """The carried intents of one account, in records of at most ``records_max``.

    Each record holds intents that end at about the same time: those that leave together cost one write.
    """

    def __init__(self, account_id: str, packer: Packer, records_max: int) -> None:
        self._account_id = account_id
        self._packer = packer
        self._records_max = records_max
        self._records: dict[int, dict[Place, Held]] = {}
        self._record_of: dict[Place, int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._record_of)

    def __contains__(self, place: Place) -> bool:
        return place in self._record_of

    def restore(self, number: int, held: Sequence[Held]) -> None:
        """The journal has this record."""
        self._next = max(self._next, number + 1)
        self._put(number, held)

    def add(self, held: Iterable[Held]) -> Iterator[JournalMessage]:
        """Carry these intents; returns what to write."""
        by_end = sorted(held, key=lambda one: one.row.ends_at)
        for first in range(0, len(by_end), self._records_max):
            number = self._next
            self._next += 1
            self._put(number, by_end[first : first + self._records_max])
            yield self._journaled(number)

    def take(self, held: Iterable[Held]) -> tuple[list[JournalMessage], list[Held]]:
        """These intents wait no longer. Returns what to write, and those that were not carried."""
        others: list[Held] = []
        touched: dict[int, None] = {}
        for one in held:
            number = self._record_of.pop(one.place, None)
            if number is None:
                others.append(one)
            else:
                del self._records[number][one.place]
                touched[number] = None
        return [self._journaled(number) for number in touched], others

    def oldest(self, count: int) -> list[Held]:
        """About ``count`` carried intents that should leave first, so that whole records are forgotten."""
        chosen: list[Held] = []
        for record in self._records.values():
            chosen.extend(record.values())
            if len(chosen) >= count:
                break
        return chosen

    def waiting(self) -> list[Held]:
        """All carried intents, in the order of places."""
        return sorted((held for record in self._records.values() for held in record.values()), key=_place)

    def _put(self, number: int, held: Sequence[Held]) -> None:
        self._records[number] = {one.place: one for one in held}
        self._record_of.update((one.place, number) for one in held)

    def _journaled(self, number: int) -> JournalMessage:
        key = str(JournalKey("carry", f"{self._account_id}/{number}"))
        record = self._records[number]
        if record:
            return key, self._packer.pack(list(record.values()))
        del self._records[number]
        return key, None


def _place(held: Held) -> Place:
    return held.place
