"""Write intents to their topic as a careful dialer would: idempotent, and counting what became of each.

What must stay true: after :meth:`Publisher.close`, ``delivered`` and ``failed`` together are all that was sent, so
that a caller who compares them with what arrived can trust both sides.
"""

import time
from collections import Counter
from dataclasses import replace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.kafka.client_config import KafkaOptions, plain_producer_config
from streams.kafka.follow import partitions_of

# Longer than a broker's restart, shorter than the patience of somebody at a terminal.
PATIENCE_S = 30.0
# Messages that wait in the client: some 35 MB of intents, a second's worth at full speed.
_QUEUE_MESSAGES_MAX = 100_000
_PIECE_S = 0.2
_UNFINISHED = "unfinished"


class Publisher:
    """Send values to ``topic``, keyed by nothing, and count.

    ``delivered`` counts what the broker acknowledged, ``delivered_to`` by partition; ``failed`` counts the rest by the
    name of Kafka's error. A message fails that is not acknowledged within ``patience_s``. Raises
    :class:`~streams.kafka.follow.TopicMissing`, or ``KafkaException`` if the cluster cannot be reached.
    """

    def __init__(self, options: KafkaOptions, topic: str, patience_s: float = PATIENCE_S) -> None:
        self._producer = Producer(_config(options, patience_s))
        self._patience_s = patience_s
        self._topic = topic
        self.delivered = 0
        self.delivered_to: Counter[int] = Counter()
        self.failed: Counter[str] = Counter()
        self.partitions = len(partitions_of(self._producer, topic))
        self.given_up = False

    def send(self, value: bytes) -> None:
        """Hand over one message; waits while the client's queue is full. What the client refuses counts as failed."""
        while True:
            if self.given_up:
                self.failed[_UNFINISHED] += 1
                return
            try:
                self._producer.produce(self._topic, value, on_delivery=self._done)
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as refused:
                self.failed[refused.args[0].name()] += 1
                return
            else:
                return

    def wait(self, timeout_s: float) -> None:
        """Count what has become of messages sent before, for ``timeout_s`` or, with 0, without waiting."""
        self._producer.poll(timeout_s)

    def close(self, timeout_s: float | None = None) -> None:
        """Wait until every message is delivered or failed; what is neither after ``timeout_s`` counts as failed."""
        end_s = time.monotonic() + (self._patience_s + 5 if timeout_s is None else timeout_s)
        # In pieces: while the client waits it hears neither a signal nor another thread.
        while (left_s := end_s - time.monotonic()) > 0 and not self.given_up:
            if not self._producer.flush(min(left_s, _PIECE_S)):
                return
        if unfinished := self._producer.flush(0):
            self.failed[_UNFINISHED] += unfinished

    def give_up(self) -> None:
        """Wait for nothing any more: what is not delivered by now counts as failed. Any thread."""
        self.given_up = True

    def _done(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.delivered += 1
            self.delivered_to[message.partition() or 0] += 1
        else:
            self.failed[error.name()] += 1


def _config(options: KafkaOptions, patience_s: float) -> dict[str, Any]:
    return plain_producer_config(replace(options, instance="publish")) | {
        # What goes wrong is counted and reported; librdkafka would write a line for every attempt to connect.
        "log_level": 0,
        # Each message to a partition of its own choice: stuck together, a short run would all lie in one.
        "sticky.partitioning.linger.ms": 0,
        "delivery.timeout.ms": round(patience_s * 1000),
        "queue.buffering.max.messages": _QUEUE_MESSAGES_MAX,
    }
