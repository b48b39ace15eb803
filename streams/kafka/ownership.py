"""Which partitions this worker has, on the main loop: from the claim to the lease, the hooks around it, and back.

What must stay true: the application sees a lease only when it is complete; ``assigned`` of a partition begins after
``revoked`` of its last lease has returned; every lease that went through ``assigned`` goes through ``revoked`` once; no
chunk arrives before ``assigned`` has returned or after the lease has ended.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Final

from streams.contracts.exits import ExitCode, OperatorError
from streams.kafka.claim import Claim, Hold
from streams.kafka.lease import Chunk, Lease
from streams.kafka.offsets import Offsets
from streams.kafka.poll_thread import PollThread
from streams.kafka.read_errors import Stop
from streams.kafka.standing import REMEDY, Committed, PartitionBlocked, differ, trouble_of
from streams.kafka.transport_options import TransportOptions

logger = logging.getLogger(__name__)

LAG_EVERY_S: Final = 5.0
LOST_HOOK_S: Final = 1.0
REMIND_EVERY_S: Final = 600.0

Partition = tuple[str, int]


class Ownership:
    """The partitions of this worker. Everything runs on the main loop, unless it says otherwise.

    The application gets it from :func:`streams.kafka.transport.install`, and calls ``group_metadata``,
    ``expelled``, ``pause``, ``resume``, ``leases``, ``blocked`` and ``lag``. The rest is the transport's.
    """

    def __init__(self, options: TransportOptions) -> None:
        self._options = options
        self._poll = PollThread(options, self)
        self._offsets: Offsets | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deliver: Callable[[Chunk], None] = lambda _chunk: None
        self._changed: Callable[[Sequence[Partition]], Awaitable[None]] | None = None
        self._claims: dict[Lease, Claim] = {}
        self._starting: dict[Claim, asyncio.Task[None]] = {}
        self._explaining: dict[Claim, asyncio.Task[None]] = {}
        self._ending: dict[Partition, asyncio.Task[None]] = {}
        self._blocked: dict[Partition, str] = {}
        self._log_ends: dict[Partition, int] = {}
        self._lag_task: asyncio.Task[None] | None = None

    # --- For the application ------------------------------------------------------------------------------------------

    def group_metadata(self) -> bytes | None:
        """What fences a transaction: read between two polls and inside rebalances. Any thread.

        ``None`` while this worker is no member of the group: then nothing may be committed.
        """
        return self._poll.group_metadata

    def expelled(self, metadata: bytes) -> None:
        """The group knows no member as in this ``metadata``. Any thread."""
        self._poll.expelled(metadata)

    def leases(self) -> Sequence[Lease]:
        """Live leases, those that are still starting or blocked included."""
        return [lease for lease in self._claims if lease.alive]

    def blocked(self) -> Mapping[Partition, str]:
        """Partitions of this worker that are not read until an operator has looked, and why."""
        return dict(self._blocked)

    def pause(self, lease: Lease) -> None:
        """Stop reading. Chunks that were read already still arrive, at most the high marks of the back-pressure."""
        claim = self._claims.get(lease)
        if claim is not None:
            self._poll.hold(claim, Hold.APPLICATION)

    def resume(self, lease: Lease) -> None:
        """Read again after :meth:`pause`. Both may be repeated."""
        claim = self._claims.get(lease)
        if claim is not None:
            self._poll.release(claim, Hold.APPLICATION)

    def block(self, lease: Lease, reason: str) -> None:
        """Stop reading until an operator has looked."""
        claim = self._claims.get(lease)
        if claim is not None:
            self.pause(lease)
            self._block(claim, reason)

    async def log_start(self, lease: Lease) -> int:
        """The first offset that the partition still has. Patient: a broker that is away is asked again."""
        assert self._offsets is not None
        return await self._offsets.log_start(lease.topic, lease.partition)

    def lag(self) -> Mapping[Lease, int]:
        """Records between what was handed over and the end of the log, which is at most a few seconds old."""
        lags = {}
        for lease, claim in self._claims.items():
            end = self._log_ends.get((lease.topic, lease.partition))
            if lease.alive and end is not None:
                position = lease.start_offset if claim.cutter is None else claim.cutter.position
                lags[lease] = max(0, end - position)
        return lags

    # --- For the transport --------------------------------------------------------------------------------------------

    def start(
        self,
        topics: Sequence[str],
        *,
        deliver: Callable[[Chunk], None],
        changed: Callable[[Sequence[Partition]], Awaitable[None]],
    ) -> None:
        """Join the group. ``deliver`` gets chunks, ``changed`` the partitions that chunks may come from."""
        self._loop = asyncio.get_running_loop()
        self._deliver = deliver
        self._changed = changed
        self._offsets = Offsets(self._options.kafka)
        self._poll.start(topics)
        self._lag_task = self._loop.create_task(self._watch_logs())
        self._lag_task.add_done_callback(self._watched)

    async def stop(self, *, orderly: bool = True) -> None:
        """Give up everything and leave the group; ``orderly`` as in a revocation, else as if it were lost."""
        if self._loop is None:
            return
        if self._lag_task is not None:
            self._lag_task.cancel()
        self._poll.stop(orderly=orderly)
        await asyncio.shield(asyncio.wrap_future(self._poll.ended))
        if self._ending:
            # Only hooks of lost partitions can be left, for which nobody waits: a moment to note the loss.
            await asyncio.wait(self._ending.values(), timeout=LOST_HOOK_S)
        if self._offsets is not None:
            self._offsets.close()
        # Its connections end with it.
        self._offsets = None

    def taken(self, chunk: Chunk) -> None:
        """An agent has taken ``chunk``."""
        claim = self._claims.get(chunk.lease)
        if claim is not None and claim.backlog.take(chunk):
            self._poll.release(claim, Hold.BACKLOG)

    # --- Listener of the poll thread, in that thread ------------------------------------------------------------------

    def assigned(self, claims: Sequence[Claim]) -> None:
        """See :class:`streams.kafka.listener.Listener`."""
        self._on_loop(lambda: self._begin(claims))

    def revoked(self, claims: Sequence[Claim], *, lost: bool) -> "Future[None]":
        """See :class:`streams.kafka.listener.Listener`."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(self._end(claims, lost=lost), self._loop)

    def handed(self, chunks: Sequence[tuple[Claim, Chunk]]) -> None:
        """See :class:`streams.kafka.listener.Listener`."""
        self._on_loop(lambda: self._hand_on(chunks))

    def stopped_reading(self, claim: Claim, stop: Stop) -> None:
        """See :class:`streams.kafka.listener.Listener`."""
        self._on_loop(lambda: self._explain(claim, stop))

    def hindered(self, claim: Claim, reason: str) -> None:
        """See :class:`streams.kafka.listener.Listener`."""
        self._on_loop(lambda: self._block(claim, f"{reason}. It is tried again until it works"))

    def flowing(self, claim: Claim) -> None:
        """See :class:`streams.kafka.listener.Listener`."""
        self._on_loop(lambda: self._unblock(claim))

    def _on_loop(self, call: Callable[[], None]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(call)

    # --- Leases -------------------------------------------------------------------------------------------------------

    def _begin(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self._starting[claim] = asyncio.create_task(self._start(claim))

    async def _start(self, claim: Claim) -> None:
        try:
            predecessor = self._ending.get((claim.topic, claim.partition))
            if predecessor is not None:
                await asyncio.wait([predecessor])
            lease = await self._lease_of(claim)
            self._claims[lease] = claim
            await self._publish_partitions()
            await self._options.hooks.assigned(lease)
            self._poll.begin(claim)
        except PartitionBlocked as blocked:
            self._block(claim, str(blocked))
        except Exception as error:  # noqa: BLE001 - a partition that cannot be started must not be forgotten
            self._fail(f"starting {claim.topic}/{claim.partition} failed", error)

    async def _lease_of(self, claim: Claim) -> Lease:
        assert self._offsets is not None
        standing = await self._offsets.standing_of(claim.topic, claim.partition)
        lease = Lease(
            topic=claim.topic,
            partition=claim.partition,
            number=claim.number,
            start_offset=await self._options.start_of(standing),
            assigned_at_s=claim.assigned_at_s,
            topic_id=standing.topic_id,
            standing=standing,
        )
        claim.settle(lease)
        return lease

    def _explain(self, claim: Claim, stop: Stop) -> None:
        where = f"{claim.topic}[{claim.partition}]"
        if stop.out_of_range:
            self._block(claim, f"{where}: the broker does not have offset {stop.offset}: {stop.cause}. {REMEDY}")
            self._explaining[claim] = asyncio.create_task(self._name_the_gap(claim, stop.offset))
            return
        end = "?" if stop.readable_from is None else stop.readable_from
        text = f"{where}: offsets [{stop.offset}, {end}) cannot be read: {stop.cause}. Nothing behind them is read"
        self._block(claim, f"{text}. {REMEDY}")

    async def _name_the_gap(self, claim: Claim, offset: int) -> None:
        assert self._offsets is not None
        assert claim.lease is not None
        standing = await self._offsets.standing_of(claim.topic, claim.partition)
        reached = Committed(offset, ours=True, topic_id=claim.lease.topic_id)
        trouble = trouble_of(replace(standing, committed=reached), None)
        if trouble is not None:
            self._block(claim, f"{trouble.text}. {REMEDY}")

    def _block(self, claim: Claim, reason: str) -> None:
        if claim.current:
            logger.error("partition blocked: %s", reason)
            self._blocked[(claim.topic, claim.partition)] = reason

    def _unblock(self, claim: Claim) -> None:
        if claim.current and self._blocked.pop((claim.topic, claim.partition), None) is not None:
            logger.warning("partition %s[%d] is read again", claim.topic, claim.partition)

    def _fail(self, what: str, error: Exception) -> None:
        code = error.exit_code if isinstance(error, OperatorError) else ExitCode.CRASH
        self._options.on_fatal(code, f"{what}: {type(error).__name__}: {error}")

    async def _end(self, claims: Sequence[Claim], *, lost: bool) -> None:
        ending = asyncio.current_task()
        assert ending is not None
        for claim in claims:
            self._ending[(claim.topic, claim.partition)] = ending
        try:
            await self._cancel_starts(claims)
            leases = [lease for claim in claims if (lease := claim.lease) in self._claims and lease is not None]
            for lease in leases:
                del self._claims[lease]
            await self._publish_partitions()
            if leases:
                await self._options.hooks.revoked(leases, lost=lost)
        except Exception as error:
            self._fail("giving up partitions failed", error)
            raise
        finally:
            self._forget(claims, ending)

    async def _cancel_starts(self, claims: Sequence[Claim]) -> None:
        tasks = (self._starting, self._explaining)
        starts = [start for of_claim in tasks for claim in claims if (start := of_claim.pop(claim, None)) is not None]
        for start in starts:
            start.cancel()
        await asyncio.gather(*starts, return_exceptions=True)

    def _forget(self, claims: Sequence[Claim], ending: "asyncio.Task[None]") -> None:
        for claim in claims:
            partition = (claim.topic, claim.partition)
            self._blocked.pop(partition, None)
            self._log_ends.pop(partition, None)
            if self._ending.get(partition) is ending:
                del self._ending[partition]

    async def _publish_partitions(self) -> None:
        assert self._changed is not None
        await self._changed([(lease.topic, lease.partition) for lease in self._claims])

    def _hand_on(self, chunks: Sequence[tuple[Claim, Chunk]]) -> None:
        for claim, chunk in chunks:
            if claim.current:
                self._deliver(chunk)

    def _watched(self, watching: "asyncio.Task[None]") -> None:
        # Nobody awaits it, and without it neither the lag nor a topic that was replaced would be seen any more.
        if not watching.cancelled() and isinstance(error := watching.exception(), Exception):
            self._fail("watching the logs failed", error)

    async def _watch_logs(self) -> None:
        assert self._offsets is not None
        reminded_s = time.monotonic()
        while True:
            self._log_ends.update(await self._offsets.ends_of([(each.topic, each.partition) for each in self.leases()]))
            identities = await self._offsets.identities_of({each.topic for each in self.leases()})
            for lease in self.leases():
                if differ(lease.topic_id, identities.get(lease.topic)):
                    self._topic_replaced(lease, identities[lease.topic])
            if time.monotonic() - reminded_s >= REMIND_EVERY_S:
                reminded_s = time.monotonic()
                for reason in self._blocked.values():
                    logger.error("partition still blocked: %s", reason)
            await asyncio.sleep(LAG_EVERY_S)

    def _topic_replaced(self, lease: Lease, topic_id: str | None) -> None:
        claim = self._claims.get(lease)
        if claim is None or (lease.topic, lease.partition) in self._blocked:
            return
        # An offset of the old topic may well exist in the new one, and the client would read on from there.
        self._poll.stop_reading(claim)
        self._block(
            claim,
            f"{lease.topic}[{lease.partition}]: the topic was created anew while it was read (its id was "
            f"{lease.topic_id}, now it is {topic_id}). {REMEDY}",
        )
