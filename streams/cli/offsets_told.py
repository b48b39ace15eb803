"""What ``callstream offsets`` shows: one row for each consumed partition, and what a decision about it costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from streams.contracts.journal import Gap
from streams.kafka.positions import Positions, known_of_parcels, lows_of, trouble_of_intents, trouble_of_parcels
from streams.kafka.reset import Reset
from streams.kafka.standing import Known, Standing, Trouble, trouble_of_journal


@dataclass(frozen=True, slots=True)
class Row:
    """One consumed partition: how it stands, what its journal says."""

    standing: Standing
    intents: bool
    positions: Positions

    @property
    def known(self) -> Known | None:
        """How far it was consumed, as the journal says."""
        if self.intents:
            return self.positions.known_of_intents(self.standing.partition)
        return known_of_parcels(self.positions.head)

    @property
    def trouble(self) -> Trouble | None:
        """Why a worker would not read it."""
        if self.positions.unreadable is not None and not self.told_by_kafka:
            return trouble_of_journal(self.standing, self.positions.unreadable)
        if self.intents:
            return trouble_of_intents(self.standing, self.positions)
        return trouble_of_parcels(self.standing, self.positions.head, self.positions.cursors)

    @property
    def told_by_kafka(self) -> bool:
        """Whether a worker reads it without asking the journal: intents, from an offset that is our own."""
        committed = self.standing.committed
        return self.intents and committed is not None and committed.ours

    @property
    def lows(self) -> dict[str, int]:
        """Where accounts that are behind go on reading, by account."""
        return {} if self.intents else lows_of(self.positions.cursors)

    @property
    def state(self) -> str:
        """In one word."""
        if self.trouble is not None:
            return "blocked"
        return "ok" if self.standing.committed is not None else "new"


def as_json_of(row: Row) -> dict[str, Any]:
    """One row of ``offsets show --json``."""
    standing, known, trouble = row.standing, row.known, row.trouble
    return {
        "topic": standing.topic,
        "partition": standing.partition,
        "topic_id": standing.topic_id,
        "committed": None if standing.committed is None else standing.committed.offset,
        "log_start": standing.log_start,
        "log_end": standing.log_end,
        "journal": None if known is None else known.offset,
        "journal_at": known.at if known is not None and known.at else None,
        "state": row.state,
        "reason": None if trouble is None else trouble.why,
        "gap": None if trouble is None else _gap_as_json(trouble.gap),
        "message": None if trouble is None else trouble.text,
    }


def _gap_as_json(gap: Gap) -> dict[str, Any]:
    count = None if gap.end is None else max(0, gap.end - gap.start)
    return {"topic_id": gap.topic_id, "start": gap.start, "end": gap.end, "offsets": count}


def print_rows(rows: Sequence[Row]) -> None:
    """Print the table of ``offsets show``, then why each blocked partition is."""
    width = max(len(row.standing.topic) for row in rows)
    print(
        f"{'TOPIC':<{width}}  PARTITION  {'COMMITTED':>12}  {'LOG START':>12}  {'LOG END':>12}  {'JOURNAL':>12}  "
        f"{'JOURNAL AT':<20}  STATE"
    )
    for row in rows:
        standing, known = row.standing, row.known
        committed = "-" if standing.committed is None else str(standing.committed.offset)
        noted = "-" if known is None else str(known.offset)
        print(
            f"{standing.topic:<{width}}  {standing.partition:>9}  {committed:>12}  {standing.log_start:>12}  "
            f"{standing.log_end:>12}  {noted:>12}  {_time(known):<20}  {row.state}"
        )
    for row in rows:
        if row.trouble is not None:
            print(f"blocked ({row.trouble.why})  {row.trouble.text}")


def _time(known: Known | None) -> str:
    if known is None or not known.at:
        return "-"
    return f"{datetime.fromtimestamp(known.at / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def report(resets: Sequence[tuple[Row, Reset]], *, executed: bool, as_json: bool) -> None:
    """Say what the decisions mean, or have meant."""
    if as_json:
        told = [
            {
                "topic": each.standing.topic,
                "partition": each.standing.partition,
                "from": each.known_offset,
                "to": each.offset,
                "lost": [_gap_as_json(gap) for gap in each.gaps],
                "read_again": None if each.repeated is None else {"start": each.repeated[0], "end": each.repeated[1]},
            }
            for _, each in resets
        ]
        print(orjson.dumps({"executed": executed, "resets": told}).decode())
        return
    for row, each in resets:
        start = "nowhere known" if each.known_offset is None else each.known_offset
        print(f"{each.standing}: from {start} to {each.offset}")
        for line in _consequences(row, each):
            print(f"  {line}")
    print("done; start the workers" if executed else "nothing was changed; --execute does it")


def _consequences(row: Row, each: Reset) -> list[str]:
    lines = []
    for gap in each.gaps:
        if gap.end is None:
            lines.append(
                f"lost: everything from offset {gap.start} of the topic that was there before ({gap.topic_id})"
            )
            continue
        there = max(0, gap.end - max(gap.start, row.standing.log_start))
        lines.append(
            f"lost: {gap.end - gap.start} offsets [{gap.start}, {gap.end}), of which {there} are still in the log"
        )
    if each.repeated is not None:
        start, end = each.repeated
        what = "they will be sent a second time" if row.intents else "what was taken is recognised and not sent again"
        lines.append(f"read again: {end - start} offsets [{start}, {end}); {what}")
    return lines or ["nothing is lost and nothing is read again, as far as the journal knows"]
