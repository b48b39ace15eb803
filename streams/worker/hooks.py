"""What happens when partitions come and go, by the topic they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass

from streams import failpoint
from streams.kafka.committer import Committer
from streams.kafka.lease import Lease
from streams.kafka.standing import Standing
from streams.telemetry.metrics import Metrics
from streams.worker.clock import boot_s
from streams.worker.intents import IntentsPositions
from streams.worker.takeover import TakeOver

# Beyond the transport's bound on a revocation: if Kafka does not commit until then, that bound ends the process, and
# the next owner starts from what is committed.
DRAIN_S = 60.0


@dataclass(eq=False, slots=True)
class PartitionHooks:
    """The transport's hooks. Intents need their commits and the note of their position; parcels need their lanes."""

    parcels_topic: str
    intents: IntentsPositions
    take_over: TakeOver
    route_committer: Committer
    lanes_committer: Committer
    metrics: Metrics

    async def start_of(self, standing: Standing) -> int:
        """Where the reading of a partition starts. That of parcels is judged when their journal has been read."""
        if standing.topic != self.parcels_topic:
            return await self.intents.start_of(standing)
        return standing.log_start if standing.committed is None else standing.committed.offset

    async def assigned(self, lease: Lease) -> None:
        """Prepare for a partition; its first chunk follows."""
        if lease.topic == self.parcels_topic:
            await self.take_over.assigned(lease)
        else:
            self.intents.assigned(lease)
        self.metrics.rebalance_seconds.labels("assigned").observe(boot_s() - lease.assigned_at_s)

    async def revoked(self, leases: Sequence[Lease], *, lost: bool) -> None:
        """Give partitions up: what is finished is committed first, unless they are lost already."""
        began_s = boot_s()
        parcels = [lease for lease in leases if lease.topic == self.parcels_topic]
        intents = [lease for lease in leases if lease.topic != self.parcels_topic]
        if failpoint.hit is not None and parcels and not lost:
            failpoint.hit("revoke_begin")
        self.intents.given_up(intents)
        await self.take_over.revoked(parcels, lost=lost)
        if not lost:
            await self.route_committer.drain(intents, DRAIN_S)
            await self.lanes_committer.drain(parcels, DRAIN_S)
            if failpoint.hit is not None and parcels:
                failpoint.hit("revoke_end")
        self.route_committer.abandon(intents)
        self.lanes_committer.abandon(parcels)
        self.metrics.rebalance_seconds.labels("lost" if lost else "revoked").observe(boot_s() - began_s)
