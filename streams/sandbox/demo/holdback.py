"""How many intents the dialer may have under way, so that nothing is dropped before it is read.

The embedded Kafka keeps about 5 MB of a partition and then drops the oldest messages, read or not. So there is a bound
on what lies unread in the intents topic, and one on what has been routed and is not final: beyond what the worker's
lanes hold in memory, it would pile up unread in the parcels topic.
"""

from typing import Final

from streams.kafka.embedded import PARTITION_BYTES_MAX

UNREAD_BYTES_MAX: Final = 1024 * 1024
"""Bytes per partition that may lie unread. Messages choose their partitions: one may get several times its share."""

assert PARTITION_BYTES_MAX >= 4 * UNREAD_BYTES_MAX

# Intents of one lane, and of all lanes, that the worker holds before it stops reading (its defaults), with a fifth kept
# free: accounts do not get exactly equal shares.
_LANE_INTENTS: Final = 80_000
_WORKER_INTENTS: Final = 320_000

# What a message takes in the topic beyond its value, at most.
_OVERHEAD_BYTES: Final = 100


def intents_allowed(*, accounts: int, partitions: int, intent_bytes: float, sent: int, routed: int, final: int) -> int:
    """Return how many more intents may be sent now, at least 0.

    ``intent_bytes`` is the mean size of a message; ``sent``, ``routed`` and ``final`` count the intents that were sent,
    have left the intents topic, and have a final outcome.
    """
    unread_max = int(UNREAD_BYTES_MAX * partitions / (intent_bytes + _OVERHEAD_BYTES))
    held_max = min(accounts * _LANE_INTENTS, _WORKER_INTENTS)
    return max(0, min(unread_max - (sent - routed), held_max - (sent - final)))
