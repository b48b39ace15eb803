"""The librdkafka properties of every client we make, and which of them an operator may not set.

Three layers: our tuning, the operator's ``kafka.extra`` over it (TLS, SASL, sizes, timeouts), and over both the
properties that carry a promise. What must stay true: a property in :data:`streams.contracts.kafka_properties.PROMISES`
has the value that is written here, in every client, whatever the operator sets.

Properties: https://github.com/confluentinc/librdkafka/blob/v2.16.0/CONFIGURATION.md
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from streams.contracts.kafka_properties import PROMISES
from streams.kafka.client_log import CLIENT_LOG

GroupProtocol = Literal["consumer", "classic"]

# Time that a worker has for giving up its partitions in order. In both protocols the group waits as long for a member.
MAX_POLL_INTERVAL_MS: Final = 60_000
# An outage longer than this fences the worker, a dead worker holds up read_committed readers at most as long.
TRANSACTION_TIMEOUT_MS: Final = 15_000

# An extra for one kind of client would be a warning in the log of every other.
_PRODUCER_ONLY: Final = frozenset(
    {
        "batch.num.messages",
        "batch.size",
        "compression.codec",
        "compression.level",
        "compression.type",
        "delivery.report.only.error",
        "linger.ms",
        "queue.buffering.backpressure.threshold",
        "queue.buffering.max.kbytes",
        "queue.buffering.max.messages",
        "queue.buffering.max.ms",
        "request.timeout.ms",
        "sticky.partitioning.linger.ms",
    }
)
_CONSUMER_ONLY: Final = frozenset(
    {
        "check.crcs",
        "consume.callback.max.messages",
        "coordinator.query.interval.ms",
        "fetch.error.backoff.ms",
        "fetch.max.bytes",
        "fetch.message.max.bytes",
        "fetch.min.bytes",
        "fetch.queue.backoff.ms",
        "fetch.wait.max.ms",
        "group.protocol.type",
        "max.partition.fetch.bytes",
        "queued.max.messages.kbytes",
        "queued.min.messages",
    }
)


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """Where Kafka is and who we are there.

    ``instance`` is the stable name of this worker, unique within the group. ``session_timeout_s`` holds in the classic
    protocol; in KIP-848 the broker says it. ``extra`` are librdkafka properties of the operator.
    """

    bootstrap_servers: str
    group_id: str
    instance: str
    group_protocol: Literal["auto", "consumer", "classic"] = "auto"
    session_timeout_s: float = 45.0
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)


def consumer_config(options: KafkaOptions, protocol: GroupProtocol) -> dict[str, Any]:
    """The group consumer. It never commits by itself and never decides by itself where to start."""
    session_ms = int(options.session_timeout_s * 1000)
    tuning: dict[str, Any] = {
        # A pause throws away what was fetched ahead, so that is kept small; the back-off must then be small too, its
        # default of 1 s would leave a fast reader idle.
        "queued.min.messages": 10_000,
        "queued.max.messages.kbytes": 16_384,
        "fetch.queue.backoff.ms": 20,
        # One fetch is under way for each broker, and a partition that is resumed or new waits for its end.
        "fetch.wait.max.ms": 100,
        "check.crcs": True,
    }
    membership: dict[str, Any] = {"group.protocol": protocol, "max.poll.interval.ms": MAX_POLL_INTERVAL_MS}
    if protocol == "classic":
        # As often as Kafka advises, a third of the session, and never rarer than the client's default.
        tuning["heartbeat.interval.ms"] = min(3_000, session_ms // 3)
        membership |= {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": session_ms,
            # librdkafka refuses a poll interval below the session timeout.
            "max.poll.interval.ms": max(MAX_POLL_INTERVAL_MS, session_ms),
        }
    else:
        # The broker's default counts partitions of both topics together: of two workers, one gets all intents and the
        # other all lanes. By ranges each topic is shared evenly; a join moves up to twice as many partitions.
        membership["group.remote.assignor"] = "range"
    return _config(options, tuning, _READING | membership | {"group.id": options.group_id}, _PRODUCER_ONLY)


def reader_config(options: KafkaOptions) -> dict[str, Any]:
    """A reader outside the group (replay, audit): assigns partitions itself, commits nothing, never joins."""
    tuning = {"fetch.queue.backoff.ms": 5, "check.crcs": True}
    # The client library wants a group id. With the group's own, a reader needs no further rights in Kafka.
    return _config(options, tuning, _READING | {"group.id": options.group_id}, _PRODUCER_ONLY)


def producer_config(options: KafkaOptions, transactional_id: str) -> dict[str, Any]:
    """A transactional producer."""
    tuning = {
        "compression.type": "lz4",
        "linger.ms": 5,
        # A transaction is bounded before it is produced; the count alone would refuse one large unit.
        "queue.buffering.max.messages": 0,
    }
    promises = {
        "logger": CLIENT_LOG,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
        "enable.idempotence": True,
        "acks": "all",
        # As Java and everybody after it; librdkafka's own default is CRC32.
        "partitioner": "murmur2_random",
    }
    return _config(options, tuning, promises, _CONSUMER_ONLY)


def plain_producer_config(options: KafkaOptions) -> dict[str, Any]:
    """A producer outside transactions, idempotent all the same: for those who are no worker."""
    config = producer_config(options, "")
    for transactional in ("transactional.id", "transaction.timeout.ms"):
        del config[transactional]
    return config


def admin_config(options: KafkaOptions) -> dict[str, Any]:
    """An admin client. It says nothing by itself: nobody polls it for what it has to say, and whoever asks is told."""
    # Without it a question about a topic that is gone makes a new one, where the brokers let it.
    return _config(options, {"log_level": 0}, {"allow.auto.create.topics": False}, _PRODUCER_ONLY | _CONSUMER_ONLY)


def transactional_id(options: KafkaOptions, name: str) -> str:
    """Name of this worker's producer ``name``: the same after a restart, so that it ends its own old transaction."""
    return f"{options.group_id}.{name}.{options.instance}"


_READING: Final[dict[str, Any]] = {
    "logger": CLIENT_LOG,
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
}


def _config(
    options: KafkaOptions, tuning: Mapping[str, Any], promises: Mapping[str, Any], foreign: frozenset[str]
) -> dict[str, Any]:
    common = {
        "client.id": f"{options.group_id}.{options.instance}",
        # The default of 100 ms would be the p99 of a transaction: the coordinator is often busy with the markers of
        # the last one, and is asked again after this.
        "retry.backoff.ms": 10,
        # The defaults are 100 ms and 10 s. An outage is one log line a second and client, not twenty.
        "reconnect.backoff.ms": 250,
        "reconnect.backoff.max.ms": 2_000,
        "log.connection.close": False,
        "socket.keepalive.enable": True,
    }
    extra = {name: value for name, value in options.extra.items() if name not in foreign and name not in PROMISES}
    return {**common, **tuning, **extra, "bootstrap.servers": options.bootstrap_servers, **promises}
