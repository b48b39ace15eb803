"""What is known of one intent, as the bits of one number.

Bits are only ever added as artefacts are read, in whatever order; those of :data:`CUSTODY` are worked out anew for each
judgement. So an intent costs four bytes, and all intents with the same number are judged at once.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from streams.contracts.outcome import Status

# Bits 0 to 7: the statuses that its outcomes named. Bits 8 to 15: the sequences that they had, the last for all beyond.
STATUS_BITS: Final[Mapping[str, int]] = MappingProxyType({status.value: 1 << n for n, status in enumerate(Status)})
STATUSES: Final = sum(STATUS_BITS.values())
FINALS: Final = sum(bit for name, bit in STATUS_BITS.items() if Status(name).final)
UNRESOLVED: Final = STATUS_BITS["unresolved"]
SEQUENCE_SHIFT: Final = 8
SEQUENCE_LAST: Final = 7
SEQUENCES: Final = 0xFF << SEQUENCE_SHIFT

SEEN: Final = 1 << 16
"""It stands in the intents topic."""
PARCEL: Final = 1 << 17
PARCEL_TWICE: Final = 1 << 18
LETTER: Final = 1 << 19
LETTER_TWICE: Final = 1 << 20
FLAGGED: Final = 1 << 21
"""An outcome says ``possible_duplicate``."""
OUTCOME_TWICE: Final = 1 << 22
"""Two outcomes have the same sequence."""
FINAL_TWICE: Final = 1 << 23
MISLABELLED: Final = 1 << 24
"""``final`` of an outcome does not fit its status."""
ACCOUNTS_DIFFER: Final = 1 << 25
UNTAKEN: Final = 1 << 26
"""Its account's cursor has not taken it out of its parcel."""
BATCH: Final = 1 << 27
"""It is an unsettled part of an open batch in the journal."""
CARRY: Final = 1 << 28
HELD_TWICE: Final = 1 << 29
"""More than one untaken place, open batch or carry holds it."""
PASSED: Final = 1 << 30
"""It is untaken, and the group's offset has passed it while its account is not behind: nobody will read it."""
FLAGGED_BATCH: Final = 1 << 31
"""The journal says that an attempt of its batch may have been applied."""

HELD: Final = UNTAKEN | BATCH | CARRY
CUSTODY: Final = HELD | HELD_TWICE | PASSED | FLAGGED_BATCH
TRACES: Final = STATUSES | PARCEL | LETTER | HELD

# Known of a judgement, beyond the 32 bits that are stored.
APPLIED: Final = 1 << 32
"""A ledger shows it applied."""
APPLIED_TWICE: Final = 1 << 33
CONFIRMED: Final = 1 << 34
"""A ledger shows it applied in the batch that its outcome names, or its outcome names none."""
CHANGED: Final = 1 << 35
FOREIGN: Final = 1 << 36
TOO_OFTEN: Final = 1 << 37
"""Applied more often than doubt explains."""
LEDGER_SHIFT: Final = 32
LEDGER: Final = 1 << 40
"""There is a ledger at all."""
ROUTED: Final = 1 << 41
"""It lies below the committed offset of its partition."""
DIM: Final = 1 << 42
"""Messages about it may have been removed by retention: that something is missing proves nothing."""
COUNTED: Final = 1 << 43
"""The deployment tells most outcomes as counts of batches."""

SKIPPED: Final = 1 << 44
"""An operator decided not to read the offsets where it lies."""


def statuses_of(code: int) -> set[str]:
    """The statuses in a code."""
    return {name for name, bit in STATUS_BITS.items() if code & bit}


_WORDS: Final = (
    (PARCEL, "parcel"),
    (PARCEL_TWICE, "second parcel"),
    (LETTER, "dead letter"),
    (LETTER_TWICE, "second dead letter"),
    (FLAGGED, "possible duplicate"),
    (UNTAKEN, "untaken"),
    (PASSED, "passed by the offset"),
    (BATCH, "open batch"),
    (CARRY, "carry"),
    (HELD_TWICE, "held twice"),
    (APPLIED, "applied"),
    (APPLIED_TWICE, "applied again"),
    (ROUTED, "below the committed offset"),
    (SKIPPED, "skipped by an operator"),
)


def traces_of(code: int) -> list[str]:
    """What is known of an intent, in words."""
    words = [f"outcome {status}" for status in sorted(statuses_of(code))]
    words += [word for bit, word in _WORDS if code & bit]
    return words if code & SEEN else [*words, "not in the intents topic"]
