"""What the application tells the transport: settings, hooks, and what to do when there is no going on.

What must stay true: every number that bounds memory or time has its unit in its name, and the bound on giving up
partitions is below the time after which Kafka itself would take them.
"""

import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from streams.kafka.client_config import MAX_POLL_INTERVAL_MS, KafkaOptions
from streams.kafka.lease import Lease
from streams.kafka.standing import Standing, first_start, stop_at, trouble_of

logger = logging.getLogger(__name__)


class TransportHooks(Protocol):
    """What the application does when partitions come and go. Both are awaited on the main loop."""

    async def assigned(self, lease: Lease) -> None:
        """Prepare for ``lease``; its first chunk follows when this has returned, other partitions flow meanwhile.

        Cancelled when the partition is taken away again before that. May raise
        :class:`~streams.kafka.standing.PartitionBlocked`; any other exception ends the process.
        """

    async def revoked(self, leases: Sequence[Lease], *, lost: bool) -> None:
        """Finish and commit what belongs to ``leases``; the partitions are given up when this has returned.

        Called once for every lease for which ``assigned`` was called. ``lease.alive`` is already false. The group waits
        for at most ``revoke_timeout_s``, after which the process ends. With ``lost`` the partitions are gone already:
        nobody waits, nothing may be committed. Otherwise ``lease.lost`` turns true meanwhile if the group has forgotten
        this worker, and whoever waits for a commit hears so.
        """


def end_process(code: int, reason: str) -> None:
    """Log and end the process at once, whatever other threads are stuck in. A supervisor starts it again."""
    logger.log(logging.CRITICAL if code else logging.INFO, "callstream ends with exit code %d: %s", code, reason)
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(code)


@dataclass(frozen=True, slots=True)
class Marks:
    """Back-pressure of one partition: reading stops at the high marks and goes on below the low ones.

    Counted is what was handed over and not yet taken by the agent. The distance between the marks is wide because a
    pause throws away what the client fetched ahead.
    """

    records_high: int = 4_000
    records_low: int = 1_000
    bytes_high: int = 8 * 1024 * 1024
    bytes_low: int = 2 * 1024 * 1024


async def start_at_earliest(standing: Standing) -> int:
    """Go on where the group stands, else at the beginning."""
    stop_at(trouble_of(standing, None))
    return first_start(standing, "earliest")


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """Settings of the transport.

    ``start_of`` says from which offset a partition is read, given how it stands, or raises
    :class:`~streams.kafka.standing.PartitionBlocked`; it is asked before ``hooks.assigned``, on the main loop.
    ``on_fatal`` gets an exit code and a reason, in any thread.
    """

    kafka: KafkaOptions
    hooks: TransportHooks
    start_of: Callable[[Standing], Awaitable[int]] = start_at_earliest
    chunk_records_max: int = 1_000
    chunk_bytes_max: int = 2 * 1024 * 1024
    marks: Marks = Marks()
    revoke_timeout_s: float = 35.0
    on_fatal: Callable[[int, str], None] = end_process

    def __post_init__(self) -> None:
        assert 0 < self.revoke_timeout_s * 1000 < MAX_POLL_INTERVAL_MS, "Kafka would take the partitions first"
