"""Follow topics from outside: every partition, no consumer group, nothing committed.

For people and for checks that want to see what is in a topic without taking part. Decided here: where such a reader
starts. "From the end" means the end as it was when the reader was made, looked up at once, so that whatever is produced
after that is seen however long the first fetch takes. Partitions that are added later are not followed.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

# A broker that does not answer within this time is reported, not waited for: somebody sits at a terminal.
_LOOKUP_S = 10.0


class TopicMissing(Exception):
    """A topic that was to be followed does not exist. ``topic`` names it."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"topic {topic!r} does not exist")
        self.topic = topic


def partitions_of(client: Consumer | Producer, topic: str) -> list[int]:
    """Return the partitions of ``topic``, sorted.

    Raises :class:`TopicMissing`, or ``KafkaException`` if no broker answers.
    """
    # Asking for all topics, since asking for one by name creates it where the broker may create topics by itself.
    found = client.list_topics(timeout=_LOOKUP_S).topics.get(topic)
    if found is None or not found.partitions:
        raise TopicMissing(topic)
    return sorted(found.partitions)


class Follower:
    """Read ``topics`` with the librdkafka properties ``config`` (see :mod:`streams.kafka.client_config`).

    ``only`` is the one partition to follow, ``None`` follows all.
    Raises :class:`TopicMissing`, or ``KafkaException`` if the cluster cannot be reached or refuses. Close it, or use it
    as a context manager.
    """

    def __init__(
        self, config: Mapping[str, Any], topics: Sequence[str], *, from_beginning: bool, only: int | None = None
    ) -> None:
        self._config = dict(config)
        self._only = only
        self._consumer = Consumer(self._config)
        self._next: dict[tuple[str, int], int] = {}
        try:
            places = [place for topic in topics for place in self._places(topic, from_beginning=from_beginning)]
            self._consumer.assign(places)
            self._next = {(place.topic, place.partition): max(0, place.offset) for place in places}
        except BaseException:
            self._consumer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, timeout_s: float = 0.2, messages_max: int = 1000) -> list[Message]:
        """Return what has come, waiting up to ``timeout_s`` for the first message.

        Raises ``KafkaException`` where reading cannot go on, for example when the topic lost what was to be read next.
        """
        messages = []
        for message in self._consumer.consume(messages_max, timeout_s):
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name in confluent-kafka
                raise KafkaException(error)
            # An end of partition tells the position too, behind transaction markers that are never delivered.
            place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
            self._next[place] = max(self._next[place], offset + (error is None))
        return messages

    def rest(self, timeout_s: float = 10.0) -> Iterator[list[Message]]:
        """Read on to the ends that the partitions have now.

        Raises ``TimeoutError`` where that takes longer than ``timeout_s``, and what :meth:`read` raises.
        """
        # On a connection of its own: on ours, each question would wait behind a fetch that waits for messages.
        asking = Consumer(self._config)
        try:
            ends = {place: _end_of(asking, TopicPartition(*place)) for place in self._next}
        finally:
            asking.close()
        deadline_s = time.monotonic() + timeout_s
        while any(self._next[place] < end for place, end in ends.items()):
            if time.monotonic() > deadline_s:
                raise TimeoutError("the ends of the topics were not reached")
            yield self.read()

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def _places(self, topic: str, *, from_beginning: bool) -> Iterator[TopicPartition]:
        for partition in partitions_of(self._consumer, topic):
            if self._only not in {None, partition}:
                continue
            place = TopicPartition(topic, partition, OFFSET_BEGINNING)
            if not from_beginning:
                place.offset = _end_of(self._consumer, place)
            yield place


def _end_of(consumer: Consumer, place: TopicPartition) -> int:
    return int(consumer.get_watermark_offsets(place, timeout=_LOOKUP_S)[1])
