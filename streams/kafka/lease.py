"""Leases and chunks: what the transport hands to the application.

A lease is one assignment of one partition to this worker. Work belongs to the lease under which it was read; when the
lease is gone the work is dropped, never committed: the next owner reads it again. What must stay true: ``alive`` is
cleared by the poll thread before anything else happens on a revocation; ``lost`` is set before the partition is given
up; neither ever changes back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import Message

from streams.kafka.standing import Standing


@dataclass(eq=False, slots=True)
class Lease:
    """One assignment of one partition to this worker. A partition that comes back is another lease: compare identities.

    ``number`` counts the leases of this process. ``start_offset`` is the first offset read under the lease.
    ``assigned_at_s`` is CLOCK_BOOTTIME, which goes on while the machine is suspended. ``topic_id`` is the broker's
    identity of the topic (KIP-516), ``None`` where the broker does not tell. ``standing`` is what Kafka said of the
    partition when the lease began.

    ``alive`` is cleared when the partition is being taken away: nothing new may begin. ``lost`` is set when nothing may
    be committed for it any more: at once if the group already gave the partition to somebody else, otherwise when the
    application's ``revoked`` hook has returned. In between, what is finished is still committed.
    """

    topic: str
    partition: int
    number: int
    start_offset: int
    assigned_at_s: float
    topic_id: str | None = None
    standing: Standing | None = None
    alive: bool = True
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive messages of one partition, handed over as one Faust event.

    ``start`` is the position before the first message, ``next`` the one after the last (beyond transaction markers
    where the end of the partition was reached). Chunks of one lease are contiguous: ``start`` equals the ``next``
    before it. ``messages`` may be empty where only the position moved.
    """

    lease: Lease
    messages: Sequence[Message]
    start: int
    next: int
