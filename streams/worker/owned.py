"""A parcels partition that this worker owns, with the lanes of its accounts.

What must stay true: an account's lane lives in exactly one owned partition, and every write of a lane is a unit of
that partition's lease, carrying the offset that is valid once it is durable.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from streams.contracts.command import Command, decode_delivery
from streams.contracts.parcel import Parcel
from streams.kafka.lease import Chunk, Lease
from streams.kafka.recall import Recalled
from streams.kafka.received import offset_of
from streams.lane.actions import Write
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.reading import Reading, Room
from streams.lane.tokens import Shortage


@dataclass(eq=False, slots=True)
class OwnedLane:
    """A lane in its partition. ``wake_at_s`` (``boot_s``) is when it is scheduled to be stepped.

    ``shortage`` is what was last said of its tokens.
    """

    account_id: str
    lane: Lane
    partition: "OwnedPartition"
    wake_at_s: float = float("inf")
    shortage: Shortage | None = None


Apply = Callable[[OwnedLane, Command, int], None]
"""Apply a command that was read at an offset."""

FellBehind = Callable[[OwnedLane, Write, Instant], None]
"""An account is passed over from here on, as this write says."""


@dataclass(eq=False, slots=True)
class OwnedPartition:
    """One lease of a parcels partition. ``room`` is what all lanes of the worker share.

    ``draining`` is set when it is being given up: nothing new begins. ``requests`` are those that are running.
    ``submitted_offset`` is the offset that the last unit carried. ``recalling`` runs while there is something to be
    read again; with a ``gap`` in the log nothing is, any more.
    """

    lease: Lease
    new_lane: Callable[[str], Lane]
    room: Room
    lanes: dict[str, OwnedLane] = field(default_factory=dict)
    draining: bool = False
    requests: "set[asyncio.Task[None]]" = field(default_factory=set)
    recalling: "asyncio.Task[None] | None" = None
    gap: bool = False
    reading: Reading = field(init=False)
    submitted_offset: int = field(init=False)

    def __post_init__(self) -> None:
        self.reading = Reading(self.lease.start_offset, self.room)
        self.submitted_offset = self.lease.start_offset

    @property
    def intents(self) -> int:
        """How many intents wait in windows."""
        return self.reading.intents

    def lane_of(self, account_id: str) -> OwnedLane:
        """The lane of an account, made when the account is met for the first time."""
        owned = self.lanes.get(account_id)
        if owned is None:
            owned = self.lanes[account_id] = OwnedLane(account_id, self.new_lane(account_id), self)
            self.reading.adopt(owned.lane)
        return owned

    def take(self, chunk: Chunk, now: Instant, apply: Apply, fell_behind: FellBehind) -> list[OwnedLane]:
        """Hand the parcels of a chunk to their lanes, or pass full lanes over; returns the lanes that got something.

        Commands go to ``apply``, for accounts that are behind as well. What a command or a passing over changes has to
        be submitted before ``apply`` or ``fell_behind`` returns: the offset passes it with this chunk.
        """
        touched: list[OwnedLane] = []
        reading = self.reading
        for message in chunk.messages:
            delivered, offset = decode_delivery(message.value()), offset_of(message)
            owned = self.lane_of(delivered.account_id)
            lane = owned.lane
            if isinstance(delivered, Command):
                apply(owned, delivered, offset)
                touched.append(owned)
            elif lane.mark is not None:
                continue
            elif reading.full(lane):
                if (write := reading.pass_over(lane, offset)).entries:
                    fell_behind(owned, write, now)
            elif reading.offer(lane, offset, delivered, now):
                touched.append(owned)
        reading.offset.read_to(chunk.next)
        return touched

    def recall(self, recalled: Recalled, now: Instant) -> list[OwnedLane]:
        """Hand parcels that were read again to the lanes that missed them; returns those that got something.

        Commands among them were applied when they were read first, also by a previous owner.
        """
        touched: list[OwnedLane] = []
        reading = self.reading
        for message in recalled.messages:
            owned = self.lanes.get((message.key() or b"").decode(errors="replace"))
            offset = offset_of(message)
            if owned is None or not reading.wants(owned.lane, offset, recalled.start):
                continue
            delivered = decode_delivery(message.value())
            if isinstance(delivered, Parcel) and reading.recall(owned.lane, offset, delivered, now):
                touched.append(owned)
        reading.recalled_to(recalled.start, recalled.next)
        return touched
