"""How far one partition has been read, for each of its accounts: who is served live, who is behind, who is recalled.

An account whose lane is full is passed over: its parcels are ignored from its *mark* on, and read again later by a
reader of its own, when there is room (recall). An account that holds the offset for too long no longer does. Both are
behind: their cursors in the journal say so, and from where they have to be read after a crash. What must stay true:

- Every untaken place below the offset is at or above the ``low`` of a cursor that is behind, or carried.
- The parcels of an account are offered in the order of their offsets, each of them once: below the mark they have been,
  from the mark on only whoever reads without a gap from the mark may offer them.
- An account stops being behind only when it is read live and nothing untaken lies below the offset, so the offset never
  goes back.
"""

from dataclasses import dataclass

from streams.contracts.parcel import Parcel
from streams.lane.actions import Write
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.offsets import PartitionOffset

# A lane that was full is recalled when so much of its room is free: finding the place in the log again costs a little.
ROOMY_SHARE = 0.8

# However many lanes are full, the others together keep this share on top of the bound: at least so much is always left
# for the accounts that have nothing to do with it.
FLOOR_SHARE = 0.25


@dataclass(eq=False, slots=True)
class Room:
    """How many intents the lanes of one worker may hold together, how many they do, and how many lanes there are.

    A lane may hold as many as are left for all others (dynamic thresholds, Choudhury and Hahne 1998): so the fullest
    are full first, and however many of those there are, some room is left for the rest.
    """

    intents_max: int
    held: int = 0
    lanes: int = 0

    def limit(self, lane: Lane) -> int:
        """How many intents the lane may hold now. It may exceed that by less than one parcel."""
        floor = min(lane.options.records_max, round(FLOOR_SHARE * self.intents_max / max(1, self.lanes)))
        return max(1, min(lane.options.intents_max, max(floor, self.intents_max - self.held)))


@dataclass(frozen=True, slots=True)
class Patience:
    """An account that holds the offset for so many seconds, or so many offsets back, falls behind."""

    seconds: float = 60.0
    offsets: int = 10_000


class Reading:
    """The reading of one partition, from ``start_offset`` on. ``room`` is shared by all partitions of the worker."""

    def __init__(self, start_offset: int, room: Room, patience: Patience = Patience()) -> None:
        self.offset: PartitionOffset[Lane] = PartitionOffset(start_offset)
        self.room = room
        self._patience = patience
        self.intents = 0
        # Both in the order in which they came; sets would make histories differ from run to run.
        self.behind: dict[Lane, None] = {}
        self.recalled: dict[Lane, None] = {}
        self._waiting: dict[Lane, int] = {}
        self._stalled: set[Lane] = set()

    # -- lanes come

    def adopt(self, lane: Lane) -> None:
        """A lane begins here, with nothing in it."""
        self.room.lanes += 1
        self._waiting[lane] = 0

    def resume(self, lane: Lane) -> None:
        """A lane was restored from the journal: one that is behind is read from its low end."""
        self.count(lane)
        if not lane.cursor.behind:
            return
        self.behind[lane] = None
        low = lane.cursor.low.offset
        if low < self.offset.position:
            lane.mark = low
            self.recalled[lane] = None

    def leave(self) -> None:
        """The partition is given up with all its lanes."""
        self.room.lanes -= len(self._waiting)
        self.room.held -= self.intents
        self.intents = 0
        self._waiting.clear()

    def count(self, lane: Lane) -> None:
        """Note how many intents wait in a lane; to be called when that may have changed."""
        waiting = len(lane.window)
        more = waiting - self._waiting.get(lane, 0)
        self._waiting[lane] = waiting
        self.intents += more
        self.room.held += more

    # -- reading live

    def full(self, lane: Lane) -> bool:
        """Whether the lane should be given no more parcels for now."""
        return self._waiting[lane] >= self.room.limit(lane)

    def offer(self, lane: Lane, offset: int, parcel: Parcel, now: Instant) -> bool:
        """Offer a parcel to its lane; whether the lane took anything in."""
        untaken = lane.offer(offset, parcel, now)
        if not untaken:
            return False
        if not lane.cursor.behind:
            self.offset.handed(offset, untaken, lane, now.boot_s)
        self.count(lane)
        return True

    def pass_over(self, lane: Lane, offset: int) -> Write:
        """The lane is full: its parcels from ``offset`` on are recalled later. The write is to be submitted at once."""
        lane.mark = offset
        lane.cursor.read_to(offset)
        self.recalled[lane] = None
        self._stalled.add(lane)
        return self.fall_behind(lane)

    # -- being behind

    def lagging(self, now: Instant) -> Lane | None:
        """A lane that has held the offset for too long, if any does."""
        oldest = self.offset.oldest()
        if oldest is None:
            return None
        held_s, offsets = now.boot_s - oldest.since_s, self.offset.position - oldest.offset
        late = held_s >= self._patience.seconds or offsets >= self._patience.offsets
        return oldest.account if late else None

    def fall_behind(self, lane: Lane) -> Write:
        """From now on the lane does not hold the offset. The write says so, and is to be submitted at once.

        Nothing else of this partition may be submitted in between: the offset that goes with it may pass the lane's
        untaken places, and must not do so before the write.
        """
        write = Write()
        if not lane.cursor.behind:
            lane.cursor.behind = True
            self.behind[lane] = None
            self.offset.pass_over(offset for offset, _ in lane.cursor.untaken())
            lane.journal_cursor(write)
        return write

    def caught_up(self, lane: Lane, submitted_offset: int) -> bool:
        """Whether a lane that is behind need not be so any more."""
        if lane.mark is not None:
            return False
        first = lane.cursor.first_untaken()
        return first is None or first.offset >= submitted_offset

    def catch_up(self, lane: Lane, now: Instant) -> Write:
        """A lane that has caught up holds the offset again. The write is to be submitted at once."""
        del self.behind[lane]
        lane.cursor.read_to(self.offset.position)
        lane.cursor.behind = False
        self.offset.hold_again(lane, lane.cursor.untaken(), now.boot_s)
        write = Write()
        lane.journal_cursor(write)
        return write

    def written(self, lane: Lane, write: Write) -> None:
        """A write of the lane is about to be submitted: what it takes holds the offset no longer."""
        if write.taken and not lane.cursor.behind:
            taken = self.offset.taken
            for place in write.taken:
                taken(place.offset)
        self.count(lane)

    # -- how it stands

    def recall_lag(self) -> int:
        """Messages between the lowest mark and the live position."""
        position = self.offset.position
        return position - min((lane.mark for lane in self.recalled if lane.mark is not None), default=position)

    def lows(self) -> dict[str, int]:
        """From where each account that is behind would have to be read after a crash."""
        return {lane.options.account_id: lane.cursor.low.offset for lane in self.behind}

    def behind_s(self, now: Instant) -> float:
        """The age of the oldest parcel that an account which is behind still needs."""
        since_ms = (
            lane.cursor.waits_since_ms() for lane in self.behind if not lane.cursor.finished or lane.mark is not None
        )
        oldest_ms = min((known_ms for known_ms in since_ms if known_ms), default=now.wall_ms)
        return max(0, now.wall_ms - oldest_ms) / 1000

    # -- recall

    def recall_from(self) -> int | None:
        """Where recall should read next: the lowest mark of a lane that has room; ``None`` where there is none."""
        lowest: int | None = None
        for lane in self.recalled:
            if lane in self._stalled and self._waiting[lane] <= ROOMY_SHARE * self.room.limit(lane):
                self._stalled.discard(lane)
            if lane not in self._stalled and lane.mark is not None and (lowest is None or lane.mark < lowest):
                lowest = lane.mark
        return lowest

    def wants(self, lane: Lane, offset: int, start: int) -> bool:
        """Whether a parcel at ``offset``, read without a gap from ``start`` on, is to be offered to this lane now."""
        if lane.mark is None or lane in self._stalled or not start <= lane.mark <= offset:
            return False
        if self.full(lane):
            lane.mark = offset
            lane.cursor.read_to(offset)
            self._stalled.add(lane)
            return False
        return True

    def recall(self, lane: Lane, offset: int, parcel: Parcel, now: Instant) -> bool:
        """Offer a parcel that the lane wants; whether it took anything in."""
        lane.mark = offset + 1
        return self.offer(lane, offset, parcel, now)

    def recalled_to(self, start: int, position: int) -> None:
        """Everything from ``start`` to ``position``, at most the live one, was offered to the lanes that wanted it."""
        for lane in list(self.recalled):
            if lane in self._stalled or lane.mark is None or lane.mark < start:
                continue
            lane.mark = max(lane.mark, position)
            lane.cursor.read_to(lane.mark)
            if lane.mark >= self.offset.position:
                lane.mark = None
                del self.recalled[lane]
