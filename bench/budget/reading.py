"""How a worker reads the parcels of one account: while the lane is full it passes them over, and reads them again."""

from bench.budget.traffic import PARCEL_S, Traffic
from bench.budget.world import ACCOUNT, World
from streams.contracts.parcel import Parcel
from streams.lane.actions import Write
from streams.lane.reading import Reading, Room

# How often a worker keeps house: who is behind, and reading again what was missed.
TEND_S = 1.0
RECALL_PARCELS = 20
ROOM = 400_000


class Reader:
    """Reads ``traffic`` for the lane of ``world`` from 0 s on. ``offered`` counts intents."""

    def __init__(self, world: World, traffic: Traffic) -> None:
        self.offered = 0
        self._world = world
        self._traffic = traffic
        self._reading = Reading(0, Room(ROOM))
        self._reading.adopt(world.lane)
        self._parcels = 0
        world.wrote.append(self._wrote)
        world.at(PARCEL_S, self._read)
        world.at(TEND_S, self._tend)

    def missed(self) -> int:
        """Intents that the lane has passed over and will read again."""
        mark = self._world.lane.mark
        if mark is None:
            return 0
        return sum(len(self._traffic.parcel(offset)) for offset in range(mark, self._reading.offset.position))

    def _wrote(self, write: Write) -> None:
        self._reading.written(self._world.lane, write)

    def _read(self) -> None:
        offset, self._parcels = self._parcels, self._parcels + 1
        self._world.at((self._parcels + 1) * PARCEL_S, self._read)
        rows, reading, lane = self._traffic.parcel(offset), self._reading, self._world.lane
        self.offered += len(rows)
        if rows and lane.mark is None:
            if reading.full(lane):
                self._world.write(reading.pass_over(lane, offset))
            elif reading.offer(lane, offset, Parcel(ACCOUNT, "intents", 0, rows), self._world.now):
                self._world.drive()
        reading.offset.read_to(self._parcels)

    def _tend(self) -> None:
        world, reading = self._world, self._reading
        world.at(world.now_s + TEND_S, self._tend)
        while (lagging := reading.lagging(world.now)) is not None:
            world.write(reading.fall_behind(lagging))
        for behind in list(reading.behind):
            if reading.caught_up(behind, reading.offset.committable()):
                world.write(reading.catch_up(behind, world.now))
        self._recall()

    def _recall(self) -> None:
        reading, lane = self._reading, self._world.lane
        took = False
        while (start := reading.recall_from()) is not None:
            end = min(start + RECALL_PARCELS, reading.offset.position)
            for offset in range(start, end):
                if reading.wants(lane, offset, start):
                    rows = self._traffic.parcel(offset)
                    took |= reading.recall(lane, offset, Parcel(ACCOUNT, "intents", 0, rows), self._world.now)
            reading.recalled_to(start, end)
        if took:
            self._world.drive()
