"""What the API saw, told from the fake's ledger alone: batches, limits, and whose records were in them.

The ledger is append-only and may hold earlier runs; what counts is what follows its last start.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Self

import orjson

from streams.sandbox.accounts import SyntheticAccount

# The documented budget of one token (see the fake's limits).
SLOTS_PER_TOKEN: Final = 60
_WINDOW_S: Final = 60.0
_RECENT_MAX: Final = 12
_THROTTLED: Final = 429


class RecentBatch(NamedTuple):
    """One POST to look at: epoch seconds, account, records if it was applied, HTTP status if it was answered."""

    at_s: float
    account_id: str
    records: int | None
    status: int | None
    fault: str | None


@dataclass(slots=True)
class AccountRequests:
    """What one account asked for. ``times_s`` are the fake's monotonic times of its requests with a token."""

    batches: int = 0
    records: int = 0
    times_s: deque[float] = field(default_factory=deque)
    tokens: set[int] = field(default_factory=set)

    def slots_used(self, now_s: float) -> int:
        """Return the requests of the last 60 s, of all its tokens."""
        while self.times_s and self.times_s[0] <= now_s - _WINDOW_S:
            self.times_s.popleft()
        return len(self.times_s)

    @property
    def slots(self) -> int:
        """Requests a minute that its tokens allow."""
        return SLOTS_PER_TOKEN * max(1, len(self.tokens))


class Requests:
    """Count over the lines of a ledger. ``accounts`` says whose callers and labels are whose.

    ``mixed_batches`` held a record of another account; ``applied_twice`` records had been applied before;
    ``over_limit`` requests were beyond the API's limits, whereas ``http_429`` has those that a fault refused, too.
    """

    def __init__(self, accounts: Iterable[SyntheticAccount]) -> None:
        self._owners = {(account.caller, account.label_id): account.id for account in accounts}
        self._reset()

    def _reset(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.accounts: dict[str, AccountRequests] = {}
        self.recent: deque[RecentBatch] = deque(maxlen=_RECENT_MAX)
        self.batches = self.batch_records_max = self.records = 0
        self.mixed_batches = self.applied_twice = 0
        self.over_limit = self.http_429 = 0
        self._applied: set[tuple[str, int]] = set()

    def take(self, line: bytes) -> None:
        """Count one line of the ledger."""
        entry = orjson.loads(line)
        if entry["event"] == "start":
            self._reset()
        elif entry["event"] == "request" and entry["kind"] is not None:
            self._take_request(entry)

    def _take_request(self, entry: Mapping[str, Any]) -> None:
        kind, account_id = entry["kind"], entry["account"]
        self.kinds[kind] += 1
        self.over_limit += entry["over_limit"]
        self.http_429 += entry["status"] == _THROTTLED
        account = self.accounts.setdefault(account_id, AccountRequests())
        if kind != "mint":
            account.times_s.append(entry["received_mono"])
            if entry["token"] is not None:
                account.tokens.add(entry["token"])
        if kind == "post":
            records = entry.get("records")  # of what was applied, and of nothing else
            self.recent.append(
                RecentBatch(
                    entry["received_at"],
                    account_id,
                    None if records is None else len(records),
                    entry["status"],
                    entry["fault"],
                )
            )
            if records is not None:
                self._take_batch(account, account_id, records)

    def _take_batch(self, account: AccountRequests, account_id: str, records: list[list[Any]]) -> None:
        account.batches += 1
        account.records += len(records)
        self.batches += 1
        self.records += len(records)
        self.batch_records_max = max(self.batch_records_max, len(records))
        owners = {self._owners.get((caller, label_id)) for caller, _, label_id, *_ in records}
        self.mixed_batches += owners != {account_id}
        for _, receiver, _, starts_at, _ in records:
            record = (receiver, starts_at)
            self.applied_twice += record in self._applied
            self._applied.add(record)


class LedgerReader:
    """Read a ledger while it grows, whole lines only."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("rb")
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def lines(self) -> list[bytes]:
        """Return the lines that have come since the last call."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return lines
