"""Is all in order with an intent of which this is known? A pure function of its bits.

What must stay true: an intent whose bits are those of a working deployment, at whatever moment it is looked at, has no
anomaly; each way to lose, double, invent or misplace one has its own name.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from streams.audit import state as s
from streams.audit.state import STATUS_BITS


class Anomaly(StrEnum):
    """What can be wrong. ``docs/verify.md`` says of each what it means, whose fault it is and what to do."""

    LOST = "lost"
    OUTCOME_MISSING = "outcome_missing"
    INVENTED = "invented"
    IN_TWO_PLACES = "in_two_places"
    ROUTED_TWICE = "routed_twice"
    PARCEL_MISSING = "parcel_missing"
    EARLY_COMMIT = "early_commit"
    OUTCOME_TWICE = "outcome_twice"
    FINAL_TWICE = "final_twice"
    SEQUENCE_GAP = "sequence_gap"
    CONFLICT = "conflict"
    ACCOUNTS_DIFFER = "accounts_differ"
    DEAD_LETTER_MISSING = "dead_letter_missing"
    DEAD_LETTER_TWICE = "dead_letter_twice"
    MIXED_BATCH = "mixed_batch"
    BATCH_SIZE = "batch_size"
    RATE_EXCEEDED = "rate_exceeded"
    ACCOUNT_RATE_EXCEEDED = "account_rate_exceeded"
    MINTS_EXCEEDED = "mints_exceeded"
    UNEXPLAINED_DUPLICATE = "unexplained_duplicate"
    NOT_JOURNALED = "not_journaled"
    LIED = "lied"
    PHANTOM_ACCEPT = "phantom_accept"
    INVENTED_PAYLOAD = "invented_payload"
    CHANGED_PAYLOAD = "changed_payload"
    FOREIGN_ACCOUNT = "foreign_account"
    RECORD_TWICE = "record_twice"
    OVER_LIMIT = "over_limit"
    LEAKED_NUMBER = "leaked_number"


# Where messages may have been removed, their absence is no anomaly.
OF_ABSENCE: Final = frozenset(
    {
        Anomaly.LOST,
        Anomaly.OUTCOME_MISSING,
        Anomaly.PARCEL_MISSING,
        Anomaly.SEQUENCE_GAP,
        Anomaly.DEAD_LETTER_MISSING,
        Anomaly.NOT_JOURNALED,
        Anomaly.UNEXPLAINED_DUPLICATE,
    }
)

_INVALID, _EXPIRED, _REJECTED = (STATUS_BITS[name] for name in ("invalid", "expired", "rejected"))
_ACCEPTED = STATUS_BITS["accepted"]
_TOLD_BY_API = STATUS_BITS["delivered"] | STATUS_BITS["failed"]
_NEVER_SENT = _INVALID | _EXPIRED | _REJECTED
_DEAD = _INVALID | _REJECTED


def place_of(code: int) -> str | None:
    """Where an intent is that has no final outcome; ``None`` where it has one, or is nowhere."""
    if not code & s.SEEN or code & s.FINALS:
        return None
    for bit, place in ((s.BATCH, "batch"), (s.CARRY, "carry"), (s.UNTAKEN, "parcel")):
        if code & bit:
            return place
    return None if code & s.ROUTED or code & s.TRACES else "source"


def anomalies_of(code: int) -> tuple[Anomaly, ...]:
    """What is wrong with an intent; nothing in a working deployment."""
    if not code & s.SEEN:
        return (Anomaly.INVENTED,) if code & s.TRACES else ()
    return tuple(dict.fromkeys((*_missing(code), *_doubled(code), *_outcomes(code), *_letters(code), *_ledger(code))))


def untold(code: int) -> bool:
    """Whether it is settled, and its outcome told as a count of its batch alone."""
    return bool(code & s.COUNTED and code & s.ROUTED and code & s.PARCEL and not code & (s.FINALS | s.HELD))


def skipped(code: int) -> bool:
    """Whether nobody read it, because an operator said so."""
    return bool(code & s.SEEN and code & s.SKIPPED and code & s.ROUTED and not code & s.TRACES)


def _missing(code: int) -> Iterator[Anomaly]:
    if skipped(code):
        return
    if code & s.PASSED and not code & s.FINALS:
        yield Anomaly.LOST
    elif not code & (s.FINALS | s.HELD) and (code & s.ROUTED or code & s.TRACES) and not untold(code):
        yield Anomaly.OUTCOME_MISSING if code & s.LETTER else Anomaly.LOST
    if code & s.STATUSES & ~(_INVALID | _EXPIRED) and not code & s.PARCEL:
        yield Anomaly.PARCEL_MISSING


def _doubled(code: int) -> Iterator[Anomaly]:
    settled = code & s.FINALS
    waiting = code & (s.UNTAKEN | s.CARRY)
    if (
        code & s.HELD_TWICE
        or (settled and code & s.HELD)
        or (waiting and code & s.STATUSES)
        or (code & s.TRACES and not code & s.ROUTED)
        or (code & _INVALID and code & s.PARCEL)
    ):
        yield Anomaly.IN_TWO_PLACES
    if code & s.PARCEL_TWICE:
        yield Anomaly.ROUTED_TWICE
    if code & s.ACCOUNTS_DIFFER:
        yield Anomaly.ACCOUNTS_DIFFER


def _outcomes(code: int) -> Iterator[Anomaly]:
    finals = code & s.FINALS
    if finals & (finals - 1):
        yield Anomaly.CONFLICT
    elif code & s.FINAL_TWICE:
        yield Anomaly.FINAL_TWICE
    elif code & s.OUTCOME_TWICE:
        yield Anomaly.OUTCOME_TWICE
    sequences = (code & s.SEQUENCES) >> s.SEQUENCE_SHIFT
    if sequences & (sequences + 1) and not code & s.COUNTED:
        yield Anomaly.SEQUENCE_GAP
    if code & s.MISLABELLED or _contradicts(code):
        yield Anomaly.CONFLICT


def _contradicts(code: int) -> bool:
    """Whether its outcomes cannot all be true: what may have reached the API never ends as not sent."""
    if code & _NEVER_SENT and code & (_ACCEPTED | s.UNRESOLVED | s.FLAGGED):
        return True
    return bool(code & _TOLD_BY_API and not code & (_ACCEPTED | s.COUNTED))


def _letters(code: int) -> Iterator[Anomaly]:
    if code & s.LETTER_TWICE:
        yield Anomaly.DEAD_LETTER_TWICE
    if code & _DEAD and not code & s.LETTER:
        yield Anomaly.DEAD_LETTER_MISSING
    if code & s.LETTER and code & s.FINALS and not code & _DEAD:
        yield Anomaly.CONFLICT


def _ledger(code: int) -> Iterator[Anomaly]:
    if not code & s.LEDGER:
        return
    flagged = code & (s.FLAGGED | s.FLAGGED_BATCH) or untold(code)
    if code & s.TOO_OFTEN or (code & s.APPLIED_TWICE and not flagged):
        yield Anomaly.UNEXPLAINED_DUPLICATE
    if code & s.APPLIED and code & _NEVER_SENT:
        yield Anomaly.LIED
    elif code & s.APPLIED and not code & (s.STATUSES | s.BATCH) and not untold(code):
        yield Anomaly.NOT_JOURNALED
    if code & (_ACCEPTED | _TOLD_BY_API) and not code & s.CONFIRMED:
        yield Anomaly.PHANTOM_ACCEPT
    if code & s.CHANGED:
        yield Anomaly.CHANGED_PAYLOAD
    if code & s.FOREIGN:
        yield Anomaly.FOREIGN_ACCOUNT
