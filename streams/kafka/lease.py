"""Leases and chunks: what the transport hands to the application.

A lease is one assignment of one partition to this worker. Work belongs to the lease under which it was read; when the
lease is gone the work is dropped, never committed: the next owner reads it again. What must stay true: ``alive`` is
cleared by the poll thread before anything else happens on a revocation, and is never set again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import Message


@dataclass(eq=False, slots=True)
class Lease:
    """One assignment of one partition to this worker. Compared by identity: a partition that comes back is another lease.

    ``number`` counts the leases of this process. ``start_offset`` is the first offset read under the lease.
    ``assigned_at_s`` is CLOCK_BOOTTIME, which goes on while the machine is suspended. ``topic_id`` is the broker's
    identity of the topic (KIP-516), ``None`` where the broker does not tell.
    """

    topic: str
    partition: int
    number: int
    start_offset: int
    assigned_at_s: float
    topic_id: str | None = None
    alive: bool = True


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive messages of one partition, handed over as one Faust event.

    ``start`` is the position before the first message, ``next`` the one after the last (beyond transaction markers where
    the end of the partition was reached). Chunks of one lease are contiguous: ``start`` equals the ``next`` before it.
    ``messages`` may be empty where only the position moved.
    """

    lease: Lease
    messages: Sequence[Message]
    start: int
    next: int
