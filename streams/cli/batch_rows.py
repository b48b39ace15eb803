"""An open batch as an operator sees it, from its journal entry: for lines, and as JSON. Holds no phone number."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from streams.contracts.journal import BatchEntry, BatchState, Held, Packer
from streams.lane.doubt import holds
from streams.lane.recovery import AccountState


class Shown(StrEnum):
    """How a batch stands. ``unresolved`` waits for an operator, ``ambiguous`` is sent again by itself.

    ``suspect`` is a part of a batch that the API refused as a whole, and waits to be sent by itself.
    """

    UNSENT = "unsent"
    OPEN = "open"
    AMBIGUOUS = "ambiguous"
    UNRESOLVED = "unresolved"
    ACCEPTED = "accepted"
    SUSPECT = "suspect"


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One open batch."""

    ref: str
    entry: BatchEntry
    packed: bytes

    @property
    def shown(self) -> Shown:
        """How it stands."""
        entry = self.entry
        if entry.state is BatchState.AMBIGUOUS and holds(entry.policy):
            return Shown.UNRESOLVED
        if entry.state is BatchState.UNSENT and entry.part_of is not None:
            return Shown.SUSPECT
        return Shown(entry.state)

    @property
    def in_doubt(self) -> bool:
        """Whether an operator may say what became of it."""
        return self.entry.possible_duplicate and self.shown in {
            Shown.UNSENT,
            Shown.SUSPECT,
            Shown.AMBIGUOUS,
            Shown.UNRESOLVED,
        }

    def unsettled(self) -> list[Held]:
        """Its intents without a final outcome."""
        settled = set(self.entry.settled)
        return [one for index, one in enumerate(Packer().unpack(self.packed)) if index not in settled]


def rows_of(states: Mapping[str, AccountState], account_id: str | None, wanted: Sequence[Shown]) -> Iterator[BatchRow]:
    """The open batches, oldest first, of one account or of all, in these states or in any."""
    rows = [BatchRow(ref, *found) for state in states.values() for ref, found in state.batches.items()]
    for row in sorted(rows, key=lambda row: row.ref):
        if account_id in {None, row.entry.account_id} and (not wanted or row.shown in wanted):
            yield row


def told_of(row: BatchRow) -> dict[str, Any]:
    """One batch as an object; times are epoch milliseconds."""
    entry = row.entry
    return {
        "batch_ref": row.ref,
        "account_id": entry.account_id,
        "state": row.shown,
        "policy": entry.policy,
        "records": entry.records,
        "unsettled": entry.records - len(entry.settled),
        "batch_id": entry.batch_id,
        "accepted_at": entry.accepted_at,
        "possible_duplicate": entry.possible_duplicate,
        "part_of": entry.part_of,
        "attempts": [
            {"number": each.number, "opened_at": each.opened_at, "records": entry.records - len(each.left_out)}
            for each in entry.attempts
        ],
    }


def with_intents(row: BatchRow) -> dict[str, Any]:
    """The same with its unsettled intents: who they are, where they came from and when their calls are."""
    return told_of(row) | {
        "intents": [
            {
                "intent_id": one.row.intent_id,
                "source": {
                    "topic": one.source_topic,
                    "partition": one.source_partition,
                    "offset": one.row.source_offset,
                },
                "label_id": one.row.label_id,
                "starts_at": one.row.starts_at,
                "ends_at": one.row.ends_at,
            }
            for one in row.unsettled()
        ]
    }


def line_of(row: BatchRow) -> str:
    """One batch as a line for people."""
    entry = row.entry
    sent = entry.attempts[-1].opened_at if entry.attempts else None
    remarks = [f"batch {entry.batch_id}"] if entry.batch_id else []
    remarks += ["(possible duplicate)"] if entry.possible_duplicate else []
    remarks += [f"(part of {entry.part_of})"] if entry.part_of else []
    columns = [
        row.ref,
        entry.account_id,
        f"{row.shown:<10}",
        f"{entry.records - len(entry.settled):>3} of {entry.records:>3}",
        f"sent {time_of(sent)}",
        *remarks,
    ]
    return "  ".join(columns)


def time_of(epoch_ms: float | None) -> str:
    """A time for people, UTC."""
    return "never" if epoch_ms is None else datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
