"""How a worker of the simulation reads its partition, live and again, the way the real one does."""

import random
from dataclasses import replace
from typing import Protocol

from streams.contracts.command import Command, decode_delivery
from streams.contracts.parcel import Parcel
from streams.lane.actions import Write
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.reading import Reading
from tests.lane.simulation.audit import demand
from tests.lane.simulation.surroundings import Surroundings
from tests.lane.simulation.virtual_time import Process

# A chunk is small here: six parcels of six. One more may come while a lane is almost full.
CHUNK_PARCELS_MAX = 6
PARCEL_INTENTS_MAX = 6


class Shell(Protocol):
    """The worker that reads."""

    lanes: dict[str, Lane]
    process: Process

    @property
    def busy(self) -> bool:
        """Whether it is alive and keeps its partition."""
        ...

    def now(self) -> Instant: ...
    def lane(self, account_id: str) -> Lane: ...
    def submit(self, account_id: str, write: Write) -> None: ...
    def drive(self, account_id: str) -> None: ...
    def command(self, lane: Lane, command: Command, offset: int) -> None: ...
    def note(self, line: str) -> None: ...


class Reader:
    """Reads from ``start`` on. ``submitted`` is the offset of the last unit."""

    def __init__(self, shell: Shell, world: Surroundings, start: int) -> None:
        self.submitted = start
        self.reading = Reading(start, replace(world.room), world.patience)
        self._shell = shell
        self._world = world
        self._rng: random.Random = world.rng
        self._fetching = False
        self._recalling = False
        self._offered: dict[str, int] = {}

    @property
    def done(self) -> bool:
        """Whether everything has been read, by everybody."""
        return self.reading.offset.position >= self._world.log.end and not self.reading.behind

    def written(self, account_id: str, write: Write) -> int:
        """A write is about to be submitted; returns the offset that goes with it."""
        if account_id:
            self.reading.written(self._shell.lanes[account_id], write)
        self.submitted = self.reading.offset.committable()
        return self.submitted

    def tend(self) -> None:
        """Look after those who are behind, now and then."""
        reading, shell = self.reading, self._shell
        while (lane := reading.lagging(shell.now())) is not None:
            shell.note(f"{lane.options.account_id} LAGS")
            self._fell_behind(lane.options.account_id, reading.fall_behind(lane))
        for lane in list(reading.behind):
            if reading.caught_up(lane, self.submitted):
                shell.note(f"{lane.options.account_id} CAUGHT UP")
                self._world.audit.seen["caught up"] += 1
                shell.submit(lane.options.account_id, reading.catch_up(lane, shell.now()))
        self._recall_soon()

    def _fell_behind(self, account_id: str, write: Write) -> None:
        if write.entries:
            self._world.audit.seen["fell behind"] += 1
            self._shell.submit(account_id, write)

    # -- live

    def read_soon(self) -> None:
        """There may be something to read."""
        if not self._fetching and self.reading.offset.position < self._world.log.end:
            self._fetching = True
            self._shell.process.call_in(self._rng.choice([0.001, 0.05, 0.7]), self._read)

    def _read(self) -> None:
        if not self._shell.busy:
            return
        self._fetching = False
        reading, log = self.reading, self._world.log
        chunk = log.after(reading.offset.position, self._rng.randint(1, CHUNK_PARCELS_MAX))
        touched: dict[str, None] = {}
        for offset, value in chunk:
            delivered = decode_delivery(value)
            lane = self._shell.lane(delivered.account_id)
            if isinstance(delivered, Command):
                self._shell.command(lane, delivered, offset)
                touched[delivered.account_id] = None
            elif lane.mark is None and self._take(lane, offset, delivered):
                touched[delivered.account_id] = None
        position = chunk[-1][0] + 1 if chunk else reading.offset.position
        reading.offset.read_to(position if log.after(position, 1) else log.end)
        for account_id in touched:
            self._shell.drive(account_id)
        if chunk:
            self.read_soon()

    def _take(self, lane: Lane, offset: int, parcel: Parcel) -> bool:
        if self.reading.full(lane):
            self._shell.note(f"{parcel.account_id} PASSED OVER at {offset}")
            self._fell_behind(parcel.account_id, self.reading.pass_over(lane, offset))
            return False
        self._count_offer(parcel.account_id, offset)
        return self.reading.offer(lane, offset, parcel, self._shell.now())

    def _count_offer(self, account_id: str, offset: int) -> None:
        last = self._offered.get(account_id, -1)
        demand(offset > last, "parcels are offered once, in order", (account_id, offset, last))
        self._offered[account_id] = offset

    # -- again

    def _recall_soon(self) -> None:
        start = self.reading.recall_from()
        if not self._recalling and start is not None:
            self._recalling = True
            end = self.reading.offset.position
            self._shell.process.call_in(self._rng.choice([0.01, 0.5]), lambda: self._recall(start, end))

    def _recall(self, start: int, end: int) -> None:
        """What was asked for, up to ``end``, is there; meanwhile everything may have moved."""
        if not self._shell.busy:
            return
        self._recalling = False
        reading, log = self.reading, self._world.log
        there = [message for message in log.after(start, CHUNK_PARCELS_MAX + 1) if message[0] < end]
        piece = there[: self._rng.randint(1, CHUNK_PARCELS_MAX)]
        touched: dict[str, None] = {}
        for offset, value in piece:
            delivered = decode_delivery(value)
            lane = self._shell.lanes.get(delivered.account_id)
            if lane is None or not reading.wants(lane, offset, start) or isinstance(delivered, Command):
                continue
            self._shell.note(f"{delivered.account_id} RECALLED {offset}")
            self._world.audit.seen["recalled"] += 1
            self._count_offer(delivered.account_id, offset)
            if reading.recall(lane, offset, delivered, self._shell.now()):
                touched[delivered.account_id] = None
        reading.recalled_to(start, piece[-1][0] + 1 if len(there) > len(piece) else end)
        for account_id in touched:
            self._shell.drive(account_id)
        self._recall_soon()
