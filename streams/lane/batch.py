"""A batch on its way: fixed once it is in the journal, until its last intent is final."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from streams.contracts.journal import Attempt, BatchEntry, BatchState, Held, JournalKey, Packer, encode_entry


class Phase(Enum):
    """What a batch is waiting for."""

    JOURNAL = auto()  # its attempt to become durable
    POST = auto()  # the answer to its POST
    RETRY = auto()  # the time of its next attempt
    CHECK_DUE = auto()  # the time of its next status check
    CHECK = auto()  # the answer to a status check


@dataclass(slots=True)
class Batch:
    """An open batch. ``entry`` is its journal entry as last written; times ``_s`` are ``boot_s``.

    ``held`` is dropped once the API has accepted the batch: from then on only ``packed`` is kept, a tenth of its size.
    ``not_before_s`` is the time of the next attempt or check, ``checks`` how many checks were answered.
    """

    ref: str
    entry: BatchEntry
    packed: bytes
    phase: Phase
    held: Sequence[Held] | None = None
    token: int = -1
    not_before_s: float = 0.0
    checks: int = 0

    def unpacked(self, packer: Packer) -> Sequence[Held]:
        """All intents of the batch, in order."""
        return packer.unpack(self.packed) if self.held is None else self.held

    def unsettled(self, packer: Packer) -> list[Held]:
        """The intents that have no final outcome yet."""
        settled = set(self.entry.settled)
        return [one for index, one in enumerate(self.unpacked(packer)) if index not in settled]

    @property
    def unsettled_count(self) -> int:
        """How many intents have no final outcome yet."""
        return self.entry.records - len(self.entry.settled)

    def open_attempt(self, token: int, now_ms: int) -> None:
        """The next attempt is about to be journaled and made."""
        attempt = Attempt(len(self.entry.attempts) + 1, now_ms, token, self.entry.settled)
        self.entry = replace(self.entry, state=BatchState.OPEN, attempts=(*self.entry.attempts, attempt))
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
