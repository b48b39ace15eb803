"""What lanes rely on of Kafka, on virtual time: one partition of the journal, its transactions, and who owns it.

A transaction is in the log from when it is produced and visible once it is committed. Its membership is checked when
its offsets are sent; after that it may become visible even though its member has been expelled, or has died. So a new
owner reads on until every transaction that was in the log when it was assigned has ended.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from streams.lane.actions import Write
from tests.lane.simulation.audit import Audit, demand
from tests.lane.simulation.virtual_time import VirtualTime

TRANSACTION_TIMEOUT_S = 15.0


@dataclass(slots=True)
class Unit:
    """What one write becomes: it is durable together with the offset."""

    account_id: str
    write: Write
    offset: int


@dataclass(eq=False, slots=True)
class Transaction:
    """``member`` began it. ``checked_s`` is when its offsets began to be sent, once they were accepted."""

    member: str
    units: list[Unit]
    sent_s: float = 0.0
    checked: bool = False
    ended: bool = False


class Broker:
    """``member`` owns the partition, if anybody does."""

    def __init__(self, time: VirtualTime, rng: random.Random, audit: Audit, note: Callable[[str], None]) -> None:
        self.member: str | None = None
        self._time = time
        self._rng = rng
        self._audit = audit
        self._note = note
        self._open: list[Transaction] = []
        self._waiting: list[tuple[list[Transaction], Callable[[], None]]] = []

    # -- the group

    def assign(self, member: str) -> None:
        demand(self.member is None, "a partition has one owner", f"{self.member} and {member}")
        self.member = member

    def expel(self, member: str) -> None:
        if self.member == member:
            self.member = None

    # -- transactions

    def produce(self, member: str, units: list[Unit]) -> Transaction:
        """The messages of a transaction are in the log from now on, for nobody to see."""
        transaction = Transaction(member, units)
        self._open.append(transaction)
        self._time.call_in(TRANSACTION_TIMEOUT_S, lambda: self.abort(transaction))
        return transaction

    def check(self, transaction: Transaction, sent_s: float) -> bool:
        """The offsets of a transaction arrive, sent at ``sent_s``: only those of the owner are accepted."""
        transaction.checked = not transaction.ended and transaction.member == self.member
        if transaction.checked:
            transaction.sent_s = sent_s
        return transaction.checked

    def commit(self, transaction: Transaction) -> bool:
        """Make it visible, unless it was ended because it took too long: then its producer is fenced."""
        if transaction.ended:
            return False
        demand(transaction.checked, "nobody commits for a partition that is not theirs", transaction.member)
        self._show(transaction)
        self._end(transaction)
        return True

    def abort(self, transaction: Transaction) -> None:
        if not transaction.ended:
            self._end(transaction)

    def orphan(self, transaction: Transaction) -> None:
        """Its producer is gone. What it had asked for last may still happen, or the transaction ends after a while."""
        if transaction.checked and self._rng.random() < 0.5:
            self._time.call_in(self._rng.choice([0.0, 0.01, 1.0, 5.0]), lambda: self.commit(transaction))
        elif self._rng.random() < 0.5:
            # A successor of the same name begins: it ends what its predecessor left open.
            self._time.call_in(self._rng.uniform(0.1, 2.0), lambda: self.abort(transaction))

    def once_settled(self, event: Callable[[], None]) -> None:
        """Call when everything that is in the log now is visible or aborted."""
        if self._open:
            self._waiting.append((list(self._open), event))
        else:
            event()

    def _end(self, transaction: Transaction) -> None:
        transaction.ended = True
        self._open.remove(transaction)
        ready = []
        for waiting in list(self._waiting):
            transactions, event = waiting
            if transaction in transactions:
                transactions.remove(transaction)
                if not transactions:
                    self._waiting.remove(waiting)
                    ready.append(event)
        for event in ready:
            event()

    def _show(self, transaction: Transaction) -> None:
        units = transaction.units
        writes = [(unit.account_id, unit.write) for unit in units if unit.account_id]
        for account_id, write in writes:
            said = [(outcomes.status.value, len(outcomes.held)) for outcomes in write.outcomes]
            keys = [key if value is not None else f"-{key}" for key, value in write.entries]
            self._note(f"{transaction.member} {account_id} COMMIT {keys} {said}")
        self._audit.committed(writes, units[-1].offset)
        self._audit.confirmed(transaction.member, transaction.sent_s)
