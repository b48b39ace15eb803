"""From what the API said about a batch to the outcomes of its intents.

What must stay true: each intent gets exactly one final outcome, and one that was ever in an ambiguous attempt never
ends as expired or rejected: it may have been applied.
"""

from collections.abc import Sequence
from typing import NamedTuple

from streams.contracts.journal import Held
from streams.contracts.outcome import BatchFacts, Reason, Status
from streams.lane.actions import Outcomes
from streams.lane.batch import Batch
from streams.lane.correlate import Correlation, Match, Told
from streams.lane.verdict import RecordState

EXPIRED = Reason("expired", "The call's time was over, or too close to it, before the intent could be sent.")
AMBIGUOUS = Reason("ambiguous", "It was sent, no usable answer came, and it can no longer be sent again.")
UNRESOLVED = Reason("ambiguous", "It was sent and no usable answer came; it is not sent again unless an operator asks.")
GIVEN_UP = Reason("given_up", "It was sent, no usable answer came, and an operator gave it up.")
UNTRACKED = Reason("untracked", "The API accepted the batch without naming it, so its statuses cannot be asked for.")
NOT_CHECKED = Reason("not_checked", "Statuses are not checked for this account, or there was no request left for it.")
TIMEOUT = Reason("status_timeout", "The API named no final status before the deadline.")
INDISTINGUISHABLE = Reason(
    "indistinguishable", "Several intents of the batch look alike to the API, and their statuses differ."
)


class Final(NamedTuple):
    """What an intent's last outcome says besides its status."""

    status: Status
    reason: Reason | None


def unsendable(batch: Batch) -> Final:
    """The end of an intent of this batch that expired before its next attempt."""
    if batch.entry.possible_duplicate:
        return Final(Status.UNKNOWN, AMBIGUOUS)
    return Final(Status.EXPIRED, EXPIRED)


def same_for_all(batch: Batch, held: Sequence[Held], final: Final, *, counted: bool = False) -> Outcomes:
    """One outcome, at the batch's present sequence, for several of its intents."""
    entry = batch.entry
    return Outcomes(
        final.status,
        held,
        entry.sequence,
        batch.ref,
        entry.batch_id,
        final.reason,
        possible_duplicate=entry.possible_duplicate,
        counted=counted,
    )


def from_statuses(batch: Batch, held: Sequence[Held], correlation: Correlation) -> list[Outcomes]:
    """The final outcomes that a status answer brings. What it leaves pending ends as unknown: its deadline has come."""
    groups: dict[Final, tuple[list[Held], list[str | None]]] = {}
    for one, told in zip(held, correlation.told, strict=True):
        intents, record_ids = groups.setdefault(_final(told), ([], []))
        intents.append(one)
        record_ids.append(told.record.record_id if told.record and told.alone else None)
    return [
        same_for_all(batch, intents, final, counted=final.status is not Status.UNKNOWN)._replace(record_ids=record_ids)
        for final, (intents, record_ids) in groups.items()
    ]


def _final(told: Told) -> Final:
    match told.match:
        case Match.PENDING:
            return Final(Status.UNKNOWN, TIMEOUT)
        case Match.INDISTINGUISHABLE:
            return Final(Status.UNKNOWN, INDISTINGUISHABLE)
        case Match.FINAL:
            assert told.record is not None
            if told.record.state is RecordState.DELIVERED:
                return Final(Status.DELIVERED, None)
            return Final(Status.FAILED, Reason("api_status", told.record.message or told.record.raw))


def completed(batch: Batch, account_id: str, outcomes: Sequence[Outcomes]) -> BatchFacts:
    """The event that closes a batch, with the counts of its last outcomes."""
    counts: dict[Status, int] = {}
    for group in outcomes:
        counts[group.status] = counts.get(group.status, 0) + len(group.held)
    reasons = {group.reason for group in outcomes}
    return BatchFacts(
        "completed",
        account_id,
        batch.ref,
        batch.entry.batch_id,
        batch.entry.records,
        counts,
        reasons.pop() if len(reasons) == 1 else None,
        batch.entry.possible_duplicate,
    )
