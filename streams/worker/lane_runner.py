"""The shell that runs the lanes of one worker: it does what they want, and tells them what happened.

What must stay true: a request leaves only on a live lease that a commit has confirmed within :data:`FRESH_S`; a request
that has left is never cancelled, its answer is always recorded if the lease still allows it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace

from streams import failpoint
from streams.contracts.command import Command
from streams.kafka.committer import Committer, LeaseLost
from streams.kafka.lease import Chunk, Lease
from streams.kafka.message import OutMessage
from streams.kafka.recall import Recalled
from streams.lane import answers, commands, listing
from streams.lane.actions import Action, Check, ListLabels, Mint, Post, Write
from streams.lane.instant import Instant
from streams.lane.verdict import RetryLater
from streams.worker.clock import boot_s, read_clock
from streams.worker.contiguous import Contiguous
from streams.worker.encode import Encoder
from streams.worker.observe import LaneObserver
from streams.worker.owned import OwnedLane, OwnedPartition
from streams.worker.requests import LaneRequests
from streams.worker.schedule import Schedule
from streams.worker.steps import step_of

# A worker whose Kafka is gone, or that was paused, stops calling the API after this: its accounts may have a new owner.
FRESH_S = 5.0


@dataclass(eq=False, slots=True)
class LaneRunner:
    """Runs the lanes of all owned partitions. ``on_fatal`` gets an exit code and a reason; it does not return."""

    committer: Committer
    requests: LaneRequests
    encoder: Encoder
    observer: LaneObserver
    on_fatal: Callable[[int, str], None]
    partitions: dict[Lease, OwnedPartition] = field(default_factory=dict)
    _running: "set[asyncio.Task[None]]" = field(default_factory=set)
    _schedule: Schedule = field(init=False)
    _contiguous: Contiguous = field(default_factory=Contiguous)

    def __post_init__(self) -> None:
        self._schedule = Schedule(self._step)

    async def run(self) -> None:
        """Step lanes until cancelled."""
        await self._schedule.run()

    def touch(self, lanes: Iterable[OwnedLane]) -> None:
        """Something happened to these lanes: step them soon."""
        self._schedule.touch(lanes)

    def _step(self, owned: OwnedLane) -> None:
        if owned.partition.draining:
            return
        now = read_clock()
        for action in owned.lane.step(now):
            self._perform(owned, action, now)
        self._schedule.at(owned, owned.lane.wake_at(now))

    # -- actions

    def _perform(self, owned: OwnedLane, action: Action, now: Instant) -> None:
        match action:
            case Write():
                self.submit(owned, action, now, self._step_of(action))
            case Post():
                self._start(owned, self._post(owned, action))
            case Check():
                self._start(owned, self._check(owned, action))
            case Mint():
                self._start(owned, self._mint(owned))
            case ListLabels():
                self._start(owned, self._labels(owned, action))

    def _step_of(self, write: Write) -> str:
        if failpoint.hit is None:
            return ""
        step = step_of(write)
        if step.startswith("intent"):
            failpoint.hit("batch_closed")
        return step

    def submit(self, owned: OwnedLane, write: Write, now: Instant, step: str = "") -> None:
        """Hand a write to the committer, with the offset of its partition that it makes valid.

        ``step``: see :class:`streams.kafka.unit.Unit`.
        """
        partition = owned.partition
        partition.reading.written(owned.lane, write)
        messages = self.encoder.write(write, owned.account_id, partition.lease.partition, now.wall_ms)
        self.observer.written(owned, write, now)
        unit = self.submit_messages(partition, messages, step)
        unit.add_done_callback(lambda done: self._durable(owned, write.serial, done))

    def submit_messages(
        self, partition: OwnedPartition, messages: list[OutMessage], step: str = ""
    ) -> "asyncio.Future[None]":
        """Hand messages to the committer on behalf of a partition, with its offset as it is now."""
        partition.submitted_offset = partition.reading.offset.committable()
        return self.committer.submit(partition.lease, messages, partition.submitted_offset, step)

    def _durable(self, owned: OwnedLane, serial: int, unit: "asyncio.Future[None]") -> None:
        error = None if unit.cancelled() else unit.exception()
        if unit.cancelled() or isinstance(error, LeaseLost):
            return  # the partition has a new owner, who starts from what was committed
        if error is not None:
            self.on_fatal(1, f"a unit failed: {type(error).__name__}")
        if serial and not owned.partition.draining:
            owned.lane.durable(serial)
            self.touch([owned])

    def _start(self, owned: OwnedLane, request: Awaitable[Write]) -> None:
        task = asyncio.ensure_future(self._finish(owned, request))
        owned.partition.requests.add(task)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(owned.partition.requests.discard)
        task.add_done_callback(self._ended)

    async def finished(self) -> None:
        """Wait for all requests that are running, those of lost partitions too. Each has its own deadline."""
        while self._running:
            await asyncio.wait(self._running)

    def _ended(self, task: "asyncio.Future[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.on_fatal(1, f"a request's task failed: {type(error).__name__}")

    async def _finish(self, owned: OwnedLane, request: Awaitable[Write]) -> None:
        write = await request
        if not owned.partition.lease.lost:
            self.submit(owned, write, read_clock(), self._step_of(write))
            self.touch([owned])

    # -- requests

    async def _post(self, owned: OwnedLane, action: Post) -> Write:
        if failpoint.hit is not None:
            failpoint.hit("slot_granted", action.batch_ref)
        batch = owned.lane.batches[action.batch_ref]
        if not await self._confirmed(owned.partition) or not owned.lane.may_leave(batch, read_clock()):
            return owned.lane.not_sent(batch, read_clock())
        sent = read_clock()
        verdict = await self.requests.post(owned.account_id, action)
        now = read_clock()
        self.observer.answered("post", owned, action.batch_ref, verdict, now.boot_s - sent.boot_s)
        with self.observer.breaker_watched(owned, now):
            return answers.posted(owned.lane, action.batch_ref, verdict, sent.wall_ms, now)

    async def _check(self, owned: OwnedLane, action: Check) -> Write:
        if not await self._confirmed(owned.partition):
            return owned.lane.not_checked(owned.lane.batches[action.batch_ref], read_clock())
        sent = read_clock()
        verdict = await self.requests.check(owned.account_id, action)
        now = read_clock()
        self.observer.answered("check", owned, action.batch_ref, verdict, now.boot_s - sent.boot_s)
        with self.observer.breaker_watched(owned, now):
            return answers.checked(owned.lane, action.batch_ref, verdict, sent.wall_ms, now)

    async def _mint(self, owned: OwnedLane) -> Write:
        if not await self._confirmed(owned.partition):
            now = read_clock()
            write = answers.minted(owned.lane, RetryLater("not_made"), now.wall_ms, now)
            return replace(write, requests=[])  # only what was asked of the API goes on record
        sent = read_clock()
        verdict = await self.requests.mint(owned.account_id)
        now = read_clock()
        self.observer.answered("mint", owned, None, verdict, now.boot_s - sent.boot_s)
        return answers.minted(owned.lane, verdict, sent.wall_ms, now)

    async def _labels(self, owned: OwnedLane, action: ListLabels) -> Write:
        if not await self._confirmed(owned.partition):
            return listing.not_made(owned.lane, action)
        sent = read_clock()
        verdict = await self.requests.labels(owned.account_id, action)
        now = read_clock()
        self.observer.answered("labels", owned, None, verdict, now.boot_s - sent.boot_s)
        failing = owned.lane.labels.failing
        write = listing.listed(owned.lane, action, verdict, sent.wall_ms, now)
        self.observer.labels_read(owned, failing)
        return write

    async def _confirmed(self, partition: OwnedPartition) -> bool:
        """Whether a request may leave now: make a commit confirm the lease if none has lately."""
        while partition.lease.alive:
            confirmed_s = self.committer.fresh_at_s(partition.lease)
            if confirmed_s is not None and boot_s() - confirmed_s < FRESH_S:
                return True
            try:
                await self.submit_messages(partition, [])
            except LeaseLost:
                return False
        return False

    # -- partitions

    def take(self, chunk: Chunk) -> None:
        """Hand a chunk of parcels to its lanes, unless its partition is not ours any more.

        Raises:
            ChunkMissing: It is not the next one of its lease.
        """
        partition = self.partitions.get(chunk.lease)
        if partition is None or partition.draining:
            return
        self._contiguous.check(chunk)
        self.touch(partition.take(chunk, read_clock(), self._command, self.fell_behind))
        if failpoint.hit is not None and chunk.messages:
            failpoint.hit("after_decode")

    def _command(self, owned: OwnedLane, command: Command, offset: int) -> None:
        now = read_clock()
        write, result = commands.apply(owned.lane, command, offset, now)
        self.observer.commanded(command, result)
        self.submit(owned, write, now, "command")

    def recall(self, partition: OwnedPartition, recalled: Recalled) -> None:
        """Hand what was read again to the lanes that missed it, unless the partition is not ours any more."""
        if not partition.draining:
            self.touch(partition.recall(recalled, read_clock()))

    def fell_behind(self, owned: OwnedLane, write: Write, now: Instant) -> None:
        """An account no longer holds the offset of its partition, as this write says."""
        self.submit(owned, write, now)
        self.observer.fell_behind(owned)

    def caught_up(self, owned: OwnedLane, write: Write, now: Instant) -> None:
        """An account holds the offset of its partition again, as this write says."""
        self.submit(owned, write, now)
        self.observer.caught_up(owned)
