"""Group commit: what waits goes into one Kafka transaction, outputs and offsets together.

A transaction begins as soon as the last one ended and something waits, at least ``gap_s`` after the last one began.
What must stay true:

- Every transaction carries the offset of every consumed partition on whose behalf it writes, even an unchanged one,
  with group metadata taken *before* the leases were checked. So the broker refuses the work of a worker that lost the
  partition, whatever happened in between.
- Metadata of a non-member never goes into a transaction: a broker may accept it, unfenced.
- A group that does not know our member will not know it again; that is told, as the client may hear of it much later.
- A rebalance is not a failure: the transaction is aborted, units of lost leases are dropped, the rest is produced
  again in the same order; those who wait go on waiting.
- Anything that leaves the fate of a transaction unknown ends the process.
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams import failpoint
from streams.contracts.exits import ExitCode
from streams.kafka.client_config import TRANSACTION_TIMEOUT_MS, KafkaOptions, producer_config, transactional_id
from streams.kafka.lease import Lease
from streams.kafka.membership import is_member
from streams.kafka.message import OutMessage
from streams.kafka.standing import mark
from streams.kafka.transaction import InstanceTaken, TransactionAborted, TransactionFailed, Transactions
from streams.kafka.unit import Unit, UnitQueue, offsets_of
from streams.kafka.watchdog import Watchdog

logger = logging.getLogger(__name__)

Waiting = Unit[asyncio.Future[None]]

_EXPELLED: Final = KafkaError(KafkaError.UNKNOWN_MEMBER_ID).name()
_MEMBERSHIP_PAUSE_S = 0.05
_RETRY_PAUSE_FIRST_S = 0.02
_RETRY_PAUSE_MAX_S = 1.0


class LeaseLost(Exception):
    """The partition was taken away before the work was committed: it belongs to the next owner, who reads it again."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(f"lost {lease.topic}[{lease.partition}] (lease {lease.number})")
        self.lease = lease


class CommitterStopped(Exception):
    """The committer ended before the work was committed: it is read again by whoever comes next."""


class CommitObserver(Protocol):
    """Is told of every transaction, in the committer's thread."""

    def committed(self, units: int, messages: int, seconds: float) -> None:
        """Report a commit of ``units`` with ``messages``, ``seconds`` from its begin to its end."""

    def aborted(self, cause: str) -> None:
        """Report an abort; ``cause`` is Kafka's name of the error. The same work is tried again."""


@dataclass(frozen=True, slots=True)
class CommitLimits:
    """Bounds of one transaction, and of one call to the client library.

    A call is asked again after ``call_timeout_s``; one that has not returned after ``watchdog_s`` ends the process.
    """

    messages_max: int = 10_000
    bytes_max: int = 8 * 1024 * 1024
    gap_s: float = 0.02
    call_timeout_s: float = 5.0
    watchdog_s: float = 20.0

    def __post_init__(self) -> None:
        assert self.call_timeout_s < self.watchdog_s, "every call would be one that hangs"


class Committer:
    """Commits units of work, in a thread of its own. Its methods are for the event loop that started it.

    ``group_metadata`` is the transport's newest snapshot, or ``None`` while there is none; ``on_expelled`` is given one
    of which the group says that it knows no such member. Both are called in the committer's thread. ``on_fatal`` gets
    an exit code and a reason, in any thread, and does not return in production.
    """

    def __init__(
        self,
        options: KafkaOptions,
        *,
        name: Literal["route", "lanes"],
        group_metadata: Callable[[], bytes | None],
        on_expelled: Callable[[bytes], None],
        on_fatal: Callable[[int, str], None],
        observe: CommitObserver | None = None,
        limits: CommitLimits | None = None,
    ) -> None:
        self._limits = limits or CommitLimits()
        self._name = name
        self._transactional_id = transactional_id(options, name)
        self._config = producer_config(options, self._transactional_id)
        self._group_metadata = group_metadata
        self._on_expelled = on_expelled
        self._on_fatal = on_fatal
        self._observe = observe
        self._queue: UnitQueue[asyncio.Future[None]] = UnitQueue()
        # Guards the queue, which the loop fills and the thread empties.
        self._lock = threading.Lock()
        self._work = threading.Event()
        self._stopping = threading.Event()
        # What the thread is committing; left where it fails.
        self._taken: list[Waiting] = []
        self._fresh: dict[Lease, float] = {}
        self._newest: dict[Lease, asyncio.Future[None]] = {}
        self._has_committed = False
        self._began_s = 0.0
        # Not an executor's: one that is stuck in the client library must not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name=f"callstream-commit-{name}", daemon=True)
        self._watchdog = Watchdog(self._limits.watchdog_s, self._hangs)

    async def start(self) -> None:
        """Take over the transactional id and begin to commit.

        Raises:
            InstanceTaken: another worker has the same instance name.
            TransactionFailed: Kafka refuses, or does not answer within a minute.
        KafkaException: the client library refuses a property.
        """
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._watchdog.start()
        self._thread.start()
        await self._started

    def submit(
        self, lease: Lease, messages: Sequence[OutMessage], next_offset: int | None, step: str = ""
    ) -> asyncio.Future[None]:
        """Queue a unit: ``messages``, and the offset of ``lease`` that is valid once they are durable.

        The future resolves when the transaction is committed, or fails with :class:`LeaseLost`. ``next_offset``
        ``None`` leaves the offset as it is. A unit without messages moves the offset alone; that costs a transaction
        when nothing else waits, so callers send one at most once a second. ``step``: see :class:`Unit`.
        """
        waiter = self._loop.create_future()
        if lease.lost:
            _fail(waiter, LeaseLost(lease))
        elif self._stopping.is_set():
            _fail(waiter, CommitterStopped("the committer has ended"))
        else:
            with self._lock:
                self._queue.put(Unit(lease, messages, next_offset, waiter, step))
            self._newest[lease] = waiter
            self._work.set()
        return waiter

    def fresh_at_s(self, lease: Lease) -> float | None:
        """CLOCK_BOOTTIME at which the broker's last successful check of this lease's ownership began, in seconds."""
        return self._fresh.get(lease)

    def depth(self) -> tuple[int, int]:
        """Units and bytes that are not yet durable."""
        return self._queue.units, self._queue.size_bytes

    async def drain(self, leases: Collection[Lease] | None, timeout_s: float) -> bool:
        """Wait until all units of ``leases`` (``None``: of all) are committed or dropped; false if time runs out."""
        deadline = self._loop.time() + timeout_s
        while True:
            # Units of a lease settle in order: when the newest is done, all are.
            chosen = self._newest.keys() if leases is None else leases
            waiting = [waiter for lease in chosen if (waiter := self._newest.get(lease)) and not waiter.done()]
            if not waiting:
                return True
            left_s = deadline - self._loop.time()
            if left_s <= 0:
                return False
            await asyncio.wait(waiting, timeout=left_s)

    def abandon(self, leases: Iterable[Lease]) -> None:
        """Drop what is left of ``leases`` and forget them. To be called for every lease that was given up or lost."""
        for lease in leases:
            lease.lost = True
            self._newest.pop(lease, None)
            self._fresh.pop(lease, None)
        with self._lock:
            dropped = self._queue.drop_lost()
        _wake_lost(dropped)

    async def stop(self, timeout_s: float = 20.0) -> None:
        """End after the running transaction. What still waits fails with :class:`CommitterStopped`: drain before."""
        self._stopping.set()
        self._work.set()
        await asyncio.wait([self._ended], timeout=timeout_s)
        self._watchdog.stop()

    # --- In the committer's thread ---

    def _run(self) -> None:
        try:
            self._commit_until_stopped()
        except TransactionFailed as failed:
            self._end(ExitCode.CRASH, str(failed), fenced=failed.fenced)
        except Exception as error:  # noqa: BLE001 - whatever it is, the fate of a transaction is unknown
            self._end(ExitCode.CRASH, f"{type(error).__name__} in the committer: {error}")
        finally:
            # Only now, so that the reason is told before those who wait fail for want of a committer.
            self._stopping.set()
            with self._lock:
                left = self._queue.drop_all()
            self._call_loop(_wake_stopped, [*self._taken, *left])
            self._call_loop(_settle, self._ended, None)

    def _commit_until_stopped(self) -> None:
        try:
            transactions = Transactions(self._name, self._config, self._watchdog, self._limits.call_timeout_s)
            transactions.init()
        except (InstanceTaken, TransactionFailed, KafkaException) as error:
            self._call_loop(_settle, self._started, error)
            return
        self._call_loop(_settle, self._started, None)
        begun_s = 0.0
        while not self._stopping.is_set():
            self._work.wait()
            self._work.clear()
            self._stopping.wait(max(0.0, begun_s + self._limits.gap_s - time.monotonic()))
            begun_s = time.monotonic()
            with self._lock:
                self._taken = self._queue.take(self._limits.messages_max, self._limits.bytes_max)
                if self._queue:
                    self._work.set()
            self._commit(transactions, self._taken)
            self._taken = []
        transactions.close()

    def _commit(self, transactions: Transactions, units: list[Waiting]) -> None:
        pause_s = _RETRY_PAUSE_FIRST_S
        while True:
            metadata, units = self._checked(units)
            if not units or metadata is None:
                break
            self._began_s = began_s = time.monotonic()
            offsets = offsets_of(units)
            positions = [
                TopicPartition(lease.topic, lease.partition, offset, metadata=mark(lease.topic_id))
                for lease, offset in offsets.items()
            ]
            try:
                checked_at_s = transactions.run(_messages(units), positions, metadata)
            except TransactionAborted as aborted:
                logger.warning("transaction aborted, tried again: %s", aborted)
                if aborted.cause == _EXPELLED:
                    self._on_expelled(metadata)
                if self._observe is not None:
                    self._observe.aborted(aborted.cause)
                if self._stopping.wait(pause_s * random.uniform(0.5, 1.0)):
                    break
                pause_s = min(_RETRY_PAUSE_MAX_S, pause_s * 2)
            else:
                self._committed(units, offsets, checked_at_s, time.monotonic() - began_s)
                return
        with self._lock:
            self._queue.settle(units)
        self._call_loop(_wake_stopped, units)

    def _checked(self, units: list[Waiting]) -> tuple[bytes | None, list[Waiting]]:
        """Take a snapshot of a member, *then* drop the units of lost leases. Without a snapshot: we are stopping."""
        while True:
            metadata = self._group_metadata()
            units = self._without_lost(units)
            if not units or (metadata is not None and is_member(metadata)):
                return metadata, units
            if self._stopping.wait(_MEMBERSHIP_PAUSE_S):
                return None, units

    def _without_lost(self, units: list[Waiting]) -> list[Waiting]:
        kept: list[Waiting] = []
        lost: list[Waiting] = []
        for unit in units:
            (lost if unit.lease.lost else kept).append(unit)
        with self._lock:
            self._queue.settle(lost)
            lost += self._queue.drop_lost()
        if lost:
            self._call_loop(_wake_lost, lost)
        return kept

    def _committed(self, units: list[Waiting], leases: Iterable[Lease], checked_at_s: float, seconds: float) -> None:
        self._has_committed = True
        if failpoint.hit is not None:
            _reached(units, "after_ack")
        self._fresh.update((lease, checked_at_s) for lease in leases if not lease.lost)
        with self._lock:
            self._queue.settle(units)
        if self._observe is not None:
            self._observe.committed(len(units), sum(len(unit.messages) for unit in units), seconds)
        self._call_loop(_wake, units)

    def _end(self, code: ExitCode, reason: str, *, fenced: bool = False) -> None:
        late_s = TRANSACTION_TIMEOUT_MS / 1000
        open_s = time.monotonic() - self._began_s
        if fenced and open_s > late_s:
            # A worker that starts into an outage has committed nothing yet, and nobody took its name.
            reason = f"Kafka ended a transaction that was open for {open_s:.0f} s, more than {late_s:g} s ({reason})"
        elif fenced and not self._has_committed:
            code, reason = ExitCode.PRECONDITION, f"{InstanceTaken(self._transactional_id)} ({reason})"
        elif fenced:
            reason = f"{InstanceTaken(self._transactional_id)} ({reason})"
        self._on_fatal(int(code), reason)

    def _hangs(self, call: str) -> None:
        reason = f"{call} has not returned for {self._limits.watchdog_s:g} s"
        self._on_fatal(int(ExitCode.WATCHDOG), reason)

    def _call_loop(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            # Once for each transaction, not for each unit: waking the loop from a thread costs a system call.
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            # The loop is closed: the process is ending, nobody waits any more.
            logger.debug("the loop was closed before the committer ended")


def _messages(units: Sequence[Waiting]) -> Iterator[Sequence[OutMessage]]:
    if failpoint.hit is not None:
        _reached(units, "before_produce")
    for unit in units:
        yield unit.messages
    if failpoint.hit is not None:
        _reached(units, "after_produce")


def _reached(units: Iterable[Waiting], where: str) -> None:
    assert failpoint.hit is not None, "only called while something is armed"
    for unit in units:
        name, _, which = unit.step.partition("/")
        if name:
            failpoint.hit(f"{name}_{where}", which)


def _wake(units: Iterable[Waiting]) -> None:
    for unit in units:
        if not unit.waiter.done():
            unit.waiter.set_result(None)


def _wake_lost(units: Iterable[Waiting]) -> None:
    for unit in units:
        _fail(unit.waiter, LeaseLost(unit.lease))


def _wake_stopped(units: Iterable[Waiting]) -> None:
    for unit in units:
        _fail(unit.waiter, CommitterStopped("the committer ended before this was committed"))


def _fail(waiter: asyncio.Future[None], error: Exception) -> None:
    _settle(waiter, error)
    if not waiter.cancelled():
        # Nobody has to look: what was not committed is read again.
        waiter.exception()


def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
