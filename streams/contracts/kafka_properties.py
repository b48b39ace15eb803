"""Which properties of librdkafka an operator may not pass through, and why.

Everything else in ``kafka.extra`` goes to librdkafka as it is, so that security and tuning work as every Kafka user
knows them. What stands here carries a promise of ours: with another value, intents could be lost, doubled, reordered or
sent by two workers at once. The names are those of librdkafka's CONFIGURATION.md, aliases included.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

_EXACTLY_ONCE = "callstream's exactly-once delivery inside Kafka depends on it"
_POSITIONS = "callstream keeps the positions itself and commits them with the outputs"
_NEVER_SKIP = "callstream never skips or jumps over messages by itself"
_ORDER = "callstream's order of messages depends on it"
_ROUTING = "an account must reach the partition of its owner"
_POLLING = "the deadlines of a revocation are derived from it"
_TESTS_ONLY = "it replaces the real Kafka"

PROMISES: Mapping[str, str] = MappingProxyType(
    {
        "acks": _EXACTLY_ONCE,
        "allow.auto.create.topics": "topics are created by `callstream topics apply` alone",
        "auto.commit.enable": _POSITIONS,
        "auto.commit.interval.ms": _POSITIONS,
        "auto.offset.reset": f"{_NEVER_SKIP}; set kafka.start_at for a first start",
        "bootstrap.servers": "set kafka.bootstrap_servers",
        "default.topic.config": "set the properties directly",
        "delivery.timeout.ms": _EXACTLY_ONCE,
        "enable.auto.commit": _POSITIONS,
        "enable.auto.offset.store": _POSITIONS,
        "enable.gapless.guarantee": _EXACTLY_ONCE,
        "enable.idempotence": _EXACTLY_ONCE,
        "enable.partition.eof": "lag and replay are measured by it",
        "enable.sasl.oauthbearer.unsecure.jwt": "unsigned tokens authenticate nobody",
        "group.id": "set kafka.group_id",
        "group.instance.id": "set kafka.instance",
        "group.protocol": "set kafka.group_protocol",
        "group.remote.assignor": "intents and parcels are assigned by callstream's own choice",
        "isolation.level": _EXACTLY_ONCE,
        "max.in.flight": _ORDER,
        "max.in.flight.requests.per.connection": _ORDER,
        "max.poll.interval.ms": _POLLING,
        "message.send.max.retries": _EXACTLY_ONCE,
        "message.timeout.ms": _EXACTLY_ONCE,
        "metadata.broker.list": "set kafka.bootstrap_servers",
        "partition.assignment.strategy": "partitions that stay must not stop in a rebalance",
        "partitioner": _ROUTING,
        "queuing.strategy": _ORDER,
        "request.required.acks": _EXACTLY_ONCE,
        "retries": _EXACTLY_ONCE,
        "session.timeout.ms": "set kafka.session_timeout_s",
        "test.mock.broker.rtt": _TESTS_ONLY,
        "test.mock.num.brokers": _TESTS_ONLY,
        "transaction.timeout.ms": _EXACTLY_ONCE,
        "transactional.id": "it is derived from kafka.group_id and kafka.instance",
    }
)


def refused_properties(names: Iterable[str]) -> list[str]:
    """Return those of ``names`` that carry a promise, sorted."""
    return sorted(name for name in names if name in PROMISES)
