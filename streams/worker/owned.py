"""A parcels partition that this worker owns, with the lanes of its accounts.

What must stay true: an account's lane lives in exactly one owned partition, and every write of a lane is a unit of
that partition's lease, carrying the offset that is valid once it is durable.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from streams.contracts.command import Command, decode_delivery
from streams.contracts.journal import Place
from streams.kafka.lease import Chunk, Lease
from streams.kafka.received import offset_of
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.offsets import PartitionOffset


@dataclass(eq=False, slots=True)
class OwnedLane:
    """A lane in its partition. ``wake_at_s`` (``boot_s``) is when it is scheduled to be stepped."""

    account_id: str
    lane: Lane
    partition: "OwnedPartition"
    wake_at_s: float = float("inf")


Apply = Callable[[OwnedLane, Command, int], None]
"""Apply a command that was read at an offset."""


@dataclass(eq=False, slots=True)
class OwnedPartition:
    """One lease of a parcels partition.

    ``draining`` is set when it is being given up: nothing new begins. ``requests`` are those that are running.
    ``submitted_offset`` is the offset that the last unit carried, ``intents`` how many wait in windows.
    """

    lease: Lease
    new_lane: Callable[[str], Lane]
    lanes: dict[str, OwnedLane] = field(default_factory=dict)
    draining: bool = False
    paused: bool = False
    intents: int = 0
    requests: "set[asyncio.Task[None]]" = field(default_factory=set)
    offset: PartitionOffset = field(init=False)
    submitted_offset: int = field(init=False)

    def __post_init__(self) -> None:
        self.offset = PartitionOffset(self.lease.start_offset)
        self.submitted_offset = self.lease.start_offset

    def lane_of(self, account_id: str) -> OwnedLane:
        """The lane of an account, made when the account is met for the first time."""
        owned = self.lanes.get(account_id)
        if owned is None:
            owned = self.lanes[account_id] = OwnedLane(account_id, self.new_lane(account_id), self)
        return owned

    def take(self, chunk: Chunk, now: Instant, apply: Apply) -> Iterator[OwnedLane]:
        """Hand the parcels of a chunk to their lanes, and commands to ``apply``; yields each lane that got something.

        What a command changes has to be submitted before ``apply`` returns: the offset passes it with this chunk.
        """
        for message in chunk.messages:
            delivered, offset = decode_delivery(message.value()), offset_of(message)
            owned = self.lane_of(delivered.account_id)
            if isinstance(delivered, Command):
                apply(owned, delivered, offset)
                yield owned
                continue
            untaken = owned.lane.offer(offset, delivered, now)
            self.offset.handed(offset, untaken)
            self.intents += untaken
            if untaken:
                yield owned
        self.offset.read_to(chunk.next)

    def taken(self, places: Sequence[Place]) -> None:
        """These places are taken by a write that is about to be submitted."""
        self.intents -= len(places)
        for place in places:
            self.offset.taken(place.offset)
