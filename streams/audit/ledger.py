"""What a fake API says happened, held against the intents: who was applied, how often, under which name.

A record of the ledger has no id of ours, so it is joined by receiver and ``starts_at``; two intents that share both
cannot be told apart, are counted, and are left out. Memory: about 40 bytes an intent, which is why none of it is there
without a ledger.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from streams.audit import state as s
from streams.audit.budget import Budget
from streams.audit.intents import Intents
from streams.audit.judge import Anomaly
from streams.audit.table import Table, hash_of

RECORDS_MAX: Final = 500

# The bits of a judgement that a ledger brings, as they are kept.
_APPLIED, _APPLIED_TWICE, _CONFIRMED, _CHANGED, _FOREIGN, _TOO_OFTEN = (
    bit >> s.LEDGER_SHIFT for bit in (s.APPLIED, s.APPLIED_TWICE, s.CONFIRMED, s.CHANGED, s.FOREIGN, s.TOO_OFTEN)
)

# Of the numbers of batches; 0 is none.
UNNAMED_BATCH: Final = 1

# Enough to say that something is wrong, and what.
_UNMATCHED_MAX: Final = 100_000


class Record(NamedTuple):
    """What identifies an intent to the API, and what it was given."""

    caller: str
    receiver: str
    label_id: str | None
    starts_at: int
    ends_at: int

    @property
    def identity(self) -> int:
        """By which an intent and a record are the same."""
        return hash_of((self.receiver, self.starts_at))


Report = Callable[[Anomaly, str], None]


class LedgerBook:
    """Joins the lines of a ledger to intents. ``report`` is told what is wrong with a line itself.

    ``resends_max`` says of an account how often a batch may have been sent again.
    """

    def __init__(self, intents: Intents, report: Report, resends_max: Callable[[str], int]) -> None:
        self.bits = bytearray(intents.count)
        self.requests: Counter[str] = Counter()
        self.over_limit = 0
        self.budget = Budget(exact=True)
        self.indistinguishable = 0
        self._unmatched: dict[int, str] = {}
        self._outside = Table()
        self._intents = intents
        self._report = report
        self._resends_max = resends_max
        self._resent: Counter[int] = Counter()
        self._ordinals = Table(intents.count)
        self._payloads = array("Q", bytes(8 * intents.count))
        self._batch_of = array("I", bytes(4 * intents.count))
        self._applied_in = array("I", bytes(4 * intents.count))
        self._batch_numbers: dict[str, int] = {}
        self._generation = 0

    def intent(self, ordinal: int, record: Record) -> None:
        """A published intent, by its ordinal."""
        if self._ordinals.add(record.identity, ordinal) != ordinal:
            self.indistinguishable += 1
        self._payloads[ordinal] = hash_of(record)

    def accepted(self, ordinal: int, batch_id: str | None) -> None:
        """An outcome says that this batch holds an intent; ``None`` where the API named none."""
        batch = self._batch_of[ordinal] = UNNAMED_BATCH if batch_id is None else self._batch_number(batch_id)
        if self._applied_in[ordinal] and batch in (UNNAMED_BATCH, self._applied_in[ordinal]):
            self.bits[ordinal] |= _CONFIRMED

    def outside(self, record: Record) -> None:
        """An intent that is not in the range, and may have been applied all the same."""
        identity = record.identity
        self._outside.add(identity, 0)
        self._unmatched.pop(identity, None)

    def applied(self) -> tuple[int, int]:
        """How many intents were applied, and how many of them more than once."""
        counts = Counter(self.bits)
        once = sum(count for bits, count in counts.items() if bits & _APPLIED)
        return once, sum(count for bits, count in counts.items() if bits & _APPLIED_TWICE)

    @property
    def unmatched(self) -> bool:
        """Whether records were applied for which no intent is known yet."""
        return bool(self._unmatched)

    def invented(self) -> Iterator[str]:
        """Where records were applied that no intent stands for. Only meaningful if all intents are known."""
        yield from self._unmatched.values()

    def line(self, line: Mapping[str, Any]) -> None:
        """The next line."""
        if line.get("event") == "start":
            self._generation += 1
        kind = line.get("kind")
        if line.get("event") != "request" or kind is None:
            return  # one without a kind was cut off before it could be read
        self.requests[f"{kind} {line['status']}"] += 1
        self._count(kind, line)
        if kind == "post" and line.get("applied"):
            self._applied(line)

    def _count(self, kind: str, line: Mapping[str, Any]) -> None:
        account, at_s = line["account"], line["received_mono"]
        if line.get("over_limit"):
            self.over_limit += 1
            self._report(Anomaly.OVER_LIMIT, f"{kind} of {account} at {line.get('received_at', at_s)}")
        if kind == "mint":
            self.budget.mint(account, at_s, at_s)
        elif line.get("token") is not None:
            self.budget.request(account, f"{line['token']}.{self._generation}", at_s, at_s)

    def _applied(self, line: Mapping[str, Any]) -> None:
        records: Sequence[Sequence[Any]] = line["records"]
        where = f"batch {line['batch_id']} of {line['account']}"
        if not 1 <= len(records) <= RECORDS_MAX:
            self._report(Anomaly.BATCH_SIZE, f"{where}: {len(records)} records")
        resends_max = self._resends_max(line["account"])
        account, batch = self._intents.names.number(line["account"]), self._batch_number(line["batch_id"])
        identities = set()
        for caller, receiver, label_id, starts_at, ends_at in records:
            record = Record(caller.lstrip("+"), receiver.lstrip("+"), label_id, starts_at, ends_at)
            identity = record.identity
            identities.add(identity)
            ordinal = self._ordinals.get(identity)
            if ordinal >= 0:
                self._apply(ordinal, record, account, batch)
                if ordinal in self._resent and self._resent[ordinal] > resends_max:
                    self.bits[ordinal] |= _TOO_OFTEN
            elif self._outside.get(identity) < 0 and len(self._unmatched) < _UNMATCHED_MAX:
                self._unmatched[identity] = where
        if len(identities) < len(records):
            self._report(Anomaly.RECORD_TWICE, f"{where}: {len(records)} records, {len(identities)} different")

    def _apply(self, ordinal: int, record: Record, account: int, batch: int) -> None:
        bits = self.bits[ordinal]
        if bits & _APPLIED:
            bits |= _APPLIED_TWICE
            self._resent[ordinal] += 1
        bits |= _APPLIED
        self._applied_in[ordinal] = batch
        if self._batch_of[ordinal] in (batch, UNNAMED_BATCH):
            bits |= _CONFIRMED
        if self._payloads[ordinal] != hash_of(record):
            bits |= _CHANGED
        book, index = self._intents.of_ordinal(ordinal)
        if book.accounts[index] != account:
            bits |= _FOREIGN
        self.bits[ordinal] = bits

    def _batch_number(self, batch_id: str) -> int:
        return self._batch_numbers.setdefault(batch_id, len(self._batch_numbers) + UNNAMED_BATCH + 1)
