"""What the outcomes alone say of batches: each is of one account, and no larger than the API takes.

Twelve bytes a batch: its name is kept as a hash.
"""

from array import array

from streams.audit.judge import Anomaly
from streams.audit.ledger import RECORDS_MAX, Report
from streams.audit.table import Table, hash_of


class Batches:
    """Whether the outcomes of one batch are of one account, and no more than a batch may have."""

    def __init__(self, report: Report) -> None:
        self._numbers = Table()
        self._accounts = array("H")
        self._records = array("H")
        self._report = report
        self._last: tuple[str, int] = ("", -1)

    def outcome(self, ref: str, account: int, *, first: bool) -> None:
        """An intent's outcome names its batch. ``first``: it is the first of that intent."""
        number = self._last[1] if self._last[0] == ref else self._number(ref, account)
        if self._accounts[number] != account:
            self._report(Anomaly.MIXED_BATCH, f"batch {ref}")
        self._records[number] = records = min(self._records[number] + first, RECORDS_MAX + 1)
        if first and records == RECORDS_MAX + 1:
            self._report(Anomaly.BATCH_SIZE, f"batch {ref}: more than {RECORDS_MAX} intents")

    def _number(self, ref: str, account: int) -> int:
        number = self._numbers.add(hash_of(ref), len(self._accounts))
        if number == len(self._accounts):
            self._accounts.append(account)
            self._records.append(0)
        self._last = (ref, number)
        return number
