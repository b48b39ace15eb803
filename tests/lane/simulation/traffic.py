"""The parcels partition of one history: an append-only log with gaps, fed by dialers."""

import random
from bisect import bisect_left

from streams.contracts.command import Command, encode_command
from streams.contracts.journal import Place
from streams.contracts.parcel import Parcel, Priority, Row, encode_parcels
from tests.lane.simulation.audit import STRANGE, Audit, Known

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")


class ParcelLog:
    """Messages by offset. Transaction markers leave gaps, and may lie behind the last message.

    A share of the intents is ``strange``: their label is none of the account's.
    """

    def __init__(
        self, rng: random.Random, audit: Audit, accounts: int, labels: random.Random, strange: float = 0.0
    ) -> None:
        self.messages: list[tuple[int, bytes]] = []
        self.end = 0
        self._rng = rng
        self._audit = audit
        self.accounts = [f"account-{number}" for number in range(accounts)]
        self._intents = 0
        self._labels = labels
        self._strange = strange

    def append(self, wall_ms: int) -> None:
        """Publish one parcel of one account."""
        self._publish(self._rng.choice(self.accounts), [self._row(wall_ms) for _ in range(self._rng.randint(1, 6))])

    def append_patient(self, wall_ms: int, forsaken: str | None) -> None:
        """Publish to every account calls that are so far ahead that there is no excuse for letting them expire.

        Those of the forsaken one end after two hours: there is nothing that it could wait for.
        """
        starts_at = wall_ms + HOUR_MS
        for account_id in self.accounts:
            ends_at = starts_at + (HOUR_MS if account_id == forsaken else DAY_MS)
            rows = [
                self._row(wall_ms)._replace(starts_at=starts_at, ends_at=ends_at, label_id="label") for _ in range(3)
            ]
            self._publish(account_id, rows, patient=True)

    def append_command(self, verb: str, account_id: str, **arguments: str) -> None:
        """Publish an operator's command."""
        command = Command(f"command-{self.end}", account_id, verb, arguments, 0, "operator")
        self.messages.append((self.end, encode_command(command)))
        self.end = self._audit.log_end = self.end + 1

    def _publish(self, account_id: str, rows: list[Row], *, patient: bool = False) -> None:
        rng = self._rng
        offset = self.end + rng.choice([0, 0, 0, 1, 2])
        (value,) = encode_parcels(Parcel(account_id, "intents", 0, rows))
        self.messages.append((offset, value))
        self.end = self._audit.log_end = offset + 1 + rng.choice([0, 0, 1])
        for index, row in enumerate(rows):
            self._audit.published(Known(row.source_offset, account_id, Place(offset, index), row, patient))

    def _row(self, wall_ms: int) -> Row:
        rng = self._rng
        self._intents += 1
        # Whole minutes, so that intents of a batch look alike to an API that masks numbers.
        starts_at = (wall_ms + rng.choice([-60_000, 0, 20_000, 120_000, 1_800_000])) // 60_000 * 60_000
        lasts_ms = rng.choice([60_000, 200_000, 600_000, 7_200_000, 7_200_000])
        return Row(
            self._intents,
            f"intent-{self._intents}",
            "911234567890",
            f"91{rng.choice([rng.randint(10**9, 10**10), 5_000_000_001, 5_000_000_002])}",
            STRANGE if self._labels.random() < self._strange else "label",
            starts_at,
            starts_at + lasts_ms,
            rng.choice(PRIORITIES),
        )

    def after(self, position: int, count_max: int) -> list[tuple[int, bytes]]:
        """The next messages at or beyond a position."""
        first = bisect_left(self.messages, (position, b""))
        return self.messages[first : first + count_max]
