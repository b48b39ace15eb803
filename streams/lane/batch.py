"""A batch on its way: fixed once it is in the journal, until its last intent is final."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from streams.contracts.journal import Attempt, BatchEntry, BatchState, Held, JournalKey, Packer, encode_entry

# A throttled batch may be tried for hours; its entry is written at every attempt and must not grow with them.
ATTEMPTS_KEPT = 10


class Phase(Enum):
    """What a batch is waiting for."""

    JOURNAL = auto()  # its attempt to become durable
    POST = auto()  # the answer to its POST
    RETRY = auto()  # the time of its next attempt
    HELD = auto()  # an operator, or the end of its calls; or that no previous owner can be sending it
    CHECK_DUE = auto()  # the time of its next status check
    CHECK = auto()  # the answer to a status check


@dataclass(slots=True)
class Batch:
    """An open batch. ``entry`` is its journal entry as last written.

    ``held`` is dropped once the batch is accepted or held: from then on only ``packed`` is kept, a tenth of its size.
    ``checks`` is how many checks have ended; ``accepted_s`` is when the API accepted it, ``pending_s`` when it was last
    said not to be done, ``check_at_s`` when the next check should be, all as ``boot_s``. ``again``: its next POST
    repeats one that was answered badly or not at all.
    """

    ref: str
    entry: BatchEntry
    packed: bytes
    phase: Phase
    held: Sequence[Held] | None = None
    token: int = -1
    again: bool = False
    checks: int = 0
    pending_s: float | None = None
    check_at_s: float = float("inf")
    accepted_s: float = float("inf")
    _ends_first_ms: int | None = None

    def unpacked(self, packer: Packer) -> Sequence[Held]:
        """All intents of the batch, in order."""
        return packer.unpack(self.packed) if self.held is None else self.held

    def unsettled(self, packer: Packer) -> list[Held]:
        """The intents that have no final outcome yet."""
        settled = set(self.entry.settled)
        if not settled:
            return list(self.unpacked(packer))
        return [one for index, one in enumerate(self.unpacked(packer)) if index not in settled]

    def leave_out(self, over: Callable[[Held], bool], packer: Packer) -> list[Held]:
        """Settle the intents that ``over`` says are over; returns them."""
        settled = set(self.entry.settled)
        held = self.unpacked(packer)
        gone = [index for index, one in enumerate(held) if index not in settled and over(one)]
        if gone:
            self.entry = replace(self.entry, settled=tuple(sorted((*settled, *gone))))
            self._ends_first_ms = None
        return [held[index] for index in gone]

    def ends_first_ms(self, packer: Packer) -> int:
        """When the first of its unsettled intents ends, of which there must be one (epoch milliseconds)."""
        if self._ends_first_ms is None:
            self._ends_first_ms = min(one.row.ends_at for one in self.unsettled(packer))
        return self._ends_first_ms

    @property
    def passed_on(self) -> bool:
        """Whether its intents have had an outcome, so that the next of their pairs do not wait for them any more."""
        return self.entry.sequence > 0

    @property
    def in_doubt(self) -> bool:
        """Whether an attempt may have been applied and none is on its way: only then an operator may decide."""
        waits = self.phase in {Phase.RETRY, Phase.HELD} and self.entry.state is not BatchState.OPEN
        return self.entry.possible_duplicate and waits

    @property
    def unsettled_count(self) -> int:
        """How many intents have no final outcome yet."""
        return self.entry.records - len(self.entry.settled)

    def open_attempt(self, token: int, now_ms: int) -> None:
        """The next attempt is about to be journaled and made."""
        earlier = self.entry.attempts
        attempt = Attempt(earlier[-1].number + 1 if earlier else 1, now_ms, token, self.entry.settled)
        attempts = (*earlier, attempt)[-ATTEMPTS_KEPT:]
        self.entry = replace(self.entry, state=BatchState.OPEN, attempts=attempts)
        self.token = token
        self.phase = Phase.JOURNAL

    def journaled(self) -> tuple[str, bytes | None]:
        """The journal entry of its state."""
        return str(JournalKey("batch", self.ref)), encode_entry(self.entry)

    def journaled_content(self) -> tuple[str, bytes | None]:
        """The journal entry of its intents, written once."""
        return str(JournalKey("intents", self.ref)), self.packed

    def forgotten(self) -> list[tuple[str, bytes | None]]:
        """The tombstones of both: nothing of the batch is open any more."""
        return [(str(JournalKey("batch", self.ref)), None), (str(JournalKey("intents", self.ref)), None)]
