"""A message to produce, as values: what pure code hands to the committer."""

from typing import NamedTuple


class OutMessage(NamedTuple):
    """One Kafka message to be produced inside a transaction.

    ``partition`` is explicit for keyed internal topics (we compute it, see :mod:`streams.kafka.partitions`); ``-1``
    leaves it to the client's murmur2 partitioner. ``value`` ``None`` is a tombstone.
    """

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int = -1
    headers: tuple[tuple[str, bytes | None], ...] = ()
