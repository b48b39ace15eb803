"""How the consumed topics stand, for metrics and readiness."""

from collections import Counter
from dataclasses import dataclass

from streams.kafka.ownership import Ownership
from streams.telemetry.health import Health
from streams.telemetry.metrics import Metrics
from streams.worker.invalid import InvalidWatch

NO_MEMBER = "not a member of the consumer group"


@dataclass(eq=False, slots=True)
class ConsumingSampler:
    """How the consumed topics stand, in metrics and readiness."""

    intents_topic: str
    parcels_topic: str
    ownership: Ownership
    metrics: Metrics
    health: Health
    invalid: InvalidWatch

    def sample(self) -> None:
        """Set the gauges; to be called about once a second."""
        lag = self.ownership.lag()
        leases = self.ownership.leases()
        blocked = Counter(topic for topic, _ in self.ownership.blocked())
        for topic, label in ((self.intents_topic, "intents"), (self.parcels_topic, "parcels")):
            self.metrics.lag_records.labels(label).set(sum(n for lease, n in lag.items() if lease.topic == topic))
            self.metrics.partitions_assigned.labels(label).set(sum(lease.topic == topic for lease in leases))
            self.metrics.partitions_blocked.labels(label).set(blocked[topic])
        self.invalid.sample()
        # A worker beyond the number of partitions owns none and is ready all the same: it is the next one's stand-in.
        if self.ownership.group_metadata() is None:
            self.health.hold(NO_MEMBER)
        else:
            self.health.release(NO_MEMBER)
