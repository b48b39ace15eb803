"""A worker on virtual time: runs the lanes of the partition the way the real shell does.

It hands parcels to lanes, their writes to a committer that commits in groups, their requests to the API, and the
answers back; it gives the partition up in order, or dies at any moment.
"""

import math
import random
from dataclasses import replace

from streams.contracts.command import Command
from streams.contracts.journal import Packer
from streams.lane import commands
from streams.lane.actions import Write
from streams.lane.batch import Phase
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.recovery import JournalFold, hand_over, restore
from streams.lane.state import Tools
from tests.lane.simulation.audit import demand
from tests.lane.simulation.broker import Unit
from tests.lane.simulation.committer import Committer
from tests.lane.simulation.reading import PARCEL_INTENTS_MAX, Reader
from tests.lane.simulation.requests import Requests
from tests.lane.simulation.surroundings import Surroundings
from tests.lane.simulation.virtual_time import MachineClock, Process

# The real schedule's resolution.
TICK_S = 0.001

# When a worker that has lost Kafka gives up.
CUT_OFF_S = 45.0

# How long a worker may go on that has lost its partition and has not heard of it.
HEARD_LATE_S = 3.0

# How rarely an idle worker looks whether there is something to do.
IDLE_S_MAX = 16.0

# How long the group waits for an orderly hand-over before the worker ends itself.
REVOKE_S = 35.0

PACKER = Packer()

# Steps of one lane in one second, beyond which it must be spinning: sweeps, slots and checks need a few.
STEPS_PER_SECOND_MAX = 100


class PlainSealer:
    """Tokens in the journal of a simulation are no secret."""

    def seal(self, token: str) -> str:
        return token

    def open(self, sealed: str) -> str | None:
        return sealed


class Worker:
    """One incarnation on one machine: one lease of the one partition.

    ``alive`` until the lease is over, ``expelled`` once the group has given the partition away, known or not.
    """

    def __init__(self, world: Surroundings, name: str, clock: MachineClock) -> None:
        self.name = name
        self.alive = True
        self.expelled = False
        self.draining = False
        self.released = False
        self.process = Process(world.time, world.rng)
        self.lanes: dict[str, Lane] = {}
        self._world = world
        self._rng = world.rng
        self._clock = clock
        self._boot_us = self._rng.randint(0, 10**9)
        self._committer = Committer(name, world, self.process, self._durable, self._must_end)
        self._requests = Requests(self, world, self._committer)
        self._wakes: dict[str, float] = {}
        self._steps: dict[str, tuple[int, int]] = {}
        self._taken_over = False
        self._idle_s = 0.5
        world.broker.assign(name)
        assigned = self.now()
        world.broker.once_settled(lambda: self.process.enter(lambda: self._take_over(assigned)))

    def now(self) -> Instant:
        time = self._world.time
        return Instant(time.wall_ms + self._clock.off_ms, (time.now_us + self._boot_us) / 1e6)

    @property
    def busy(self) -> bool:
        """Whether it is alive and keeps its partition."""
        return self.alive and not self.draining

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        if not self._taken_over or not self._reader.done or not self._committer.quiet:
            return False
        return all(lane.idle for lane in self.lanes.values())

    # -- taking over

    def _take_over(self, assigned: Instant) -> None:
        if not self.alive or self.draining:
            return
        fold = JournalFold()
        for key, value in self._world.audit.journal.items():
            fold.apply(key.encode(), value)
        self._reader = Reader(self, self._world, self._world.audit.offset)
        self._taken_over = True
        self._world.audit.took_over(self.name)
        self.note(f"takes over at {self._reader.submitted}")
        for account_id, state in fold.accounts():
            lane = self.lane(account_id)
            write = restore(lane, state, assigned)
            self._reader.reading.resume(lane)
            if write.entries or write.outcomes:
                self.submit(account_id, write)
        for account_id in list(self.lanes):
            self.drive(account_id)
        self._every_second()

    def lane(self, account_id: str) -> Lane:
        lane = self.lanes.get(account_id)
        if lane is None:
            seed = self._rng.random()
            tools = Tools(random.Random(seed), self._new_ref, PlainSealer(), PACKER)
            lane = Lane(replace(self._world.options, account_id=account_id), tools)
            self.lanes[account_id] = lane
            self._reader.reading.adopt(lane)
        return lane

    def _new_ref(self) -> str:
        self._world.refs += 1
        return f"ref-{self._world.refs:05}"

    # -- reading

    def more(self) -> None:
        """There is something to read."""
        if self._taken_over and self.busy:
            self._idle_s = 1.0
            self._reader.read_soon()

    def command(self, lane: Lane, command: Command, offset: int) -> None:
        """Apply a command that was read."""
        write, result = commands.apply(lane, command, offset, self.now())
        self.note(f"{command.account_id} {command.verb} {dict(command.arguments)}: {result}")
        self._world.audit.commanded(self.name, command, result)
        self.submit(command.account_id, write)

    def _every_second(self) -> None:
        if not self.busy:
            return
        self._reader.read_soon()
        self._reader.tend()
        # Nothing depends on the rhythm: an idle worker looks more and more rarely, so that days pass quickly.
        self._idle_s = min(IDLE_S_MAX, self._idle_s * 2)
        if self._reader.reading.offset.committable() > self._reader.submitted:
            self.submit("", Write())
        self.process.call_in(self._idle_s, self._every_second)

    # -- lanes

    def drive(self, account_id: str) -> None:
        if not self.busy:
            return
        lane, now = self.lanes[account_id], self.now()
        self._count_step(account_id)
        actions = lane.step(now)
        for action in actions:
            if isinstance(action, Write):
                self.submit(account_id, action)
            else:
                self._requests.ask(account_id, action)
        self._keeps_bounds(lane)
        wake_at_s = lane.wake_at(now)
        if not actions:
            demand(wake_at_s > now.boot_s, "a lane that has nothing to do waits", (account_id, wake_at_s, now))
        if wake_at_s != self._wakes.get(account_id) and wake_at_s < math.inf:
            self._wakes[account_id] = wake_at_s
            when_us = math.ceil(wake_at_s * 1e6) - self._boot_us
            soonest_us = self._world.time.now_us + round(TICK_S * 1e6)
            self.process.call_at_us(max(when_us, soonest_us), lambda: self._woken(account_id, wake_at_s))
        elif wake_at_s == math.inf:
            self._wakes.pop(account_id, None)

    def _woken(self, account_id: str, wake_at_s: float) -> None:
        if self._wakes.get(account_id) == wake_at_s:
            del self._wakes[account_id]
            self.drive(account_id)

    def _count_step(self, account_id: str) -> None:
        second = self._world.time.now_us // 1_000_000
        counted_in, steps = self._steps.get(account_id, (second, 0))
        steps = steps + 1 if counted_in == second else 1
        self._steps[account_id] = (second, steps)
        demand(steps <= STEPS_PER_SECOND_MAX, "no lane spins", (account_id, steps, second))

    def _keeps_bounds(self, lane: Lane) -> None:
        options = lane.options
        waiting, posting = len(lane.window), sum(batch.phase is Phase.POST for batch in lane.batches.values())
        demand(waiting < options.intents_max + PARCEL_INTENTS_MAX, "a lane has its bounds", (waiting, "wait"))
        posting_max = options.in_flight_max_per_token * options.tokens_max
        demand(posting <= posting_max, "a lane has its bounds", (posting, "in flight"))

    def finished(self, account_id: str, write: Write) -> None:
        """A request has ended, or was not made."""
        self.submit(account_id, write)
        if self.draining:
            self._release_if_quiet()
        else:
            self.drive(account_id)

    # -- commits

    def submit(self, account_id: str, write: Write) -> None:
        self._committer.submit(Unit(account_id, write, self._reader.written(account_id, write)))

    def _durable(self, units: list[Unit]) -> None:
        for unit in units:
            if unit.write.serial and not self.draining:
                self.lanes[unit.account_id].durable(unit.write.serial)
                self.drive(unit.account_id)
        self._requests.confirm()
        if self.draining:
            self._release_if_quiet()

    # -- going

    def kill(self) -> None:
        """Die."""
        self._end("KILLED")
        self.process.alive = False

    def lose(self) -> None:
        """Hear that the partition has been given away: nothing more is done for it."""
        self._end("has lost the partition")

    def cut(self) -> None:
        """Lose Kafka without knowing: nothing is committed any more, and what was confirmed stays so for a while."""
        self.note("CUT OFF")
        self._expel()
        self._committer.stop()
        self.process.call_in(CUT_OFF_S, self.kill)

    def lose_unawares(self) -> None:
        """The group gives the partition away; this worker hears of it a little later."""
        self.note("EXPELLED")
        self._expel()
        self.process.call_in(self._rng.uniform(0, HEARD_LATE_S), self.lose)

    def pause(self, for_s: float) -> None:
        """Freeze, for longer than the group waits or not."""
        self.note(f"PAUSED for {for_s:.1f} s")
        self.process.pause()
        time = self._world.time
        time.call_in(for_s, self._go_on)
        session_s = self._world.weather.session_s
        if for_s > session_s:
            time.call_in(session_s, self._expel)

    def _go_on(self) -> None:
        if self.process.alive:
            self.note("GOES ON")
            if self.expelled:
                self.process.call_in(self._rng.uniform(0, HEARD_LATE_S), self.lose)
            self.process.resume()

    def release(self) -> None:
        """Give the partition up in order: requests in flight finish first."""
        self.draining = True
        self.note("drains")
        self.process.call_in(REVOKE_S, self._revoke_timeout)
        self._requests.confirm()
        self._release_if_quiet()

    def _revoke_timeout(self) -> None:
        if self.alive:
            self._world.audit.seen["revoke timeouts"] += 1
            self.kill()

    def _release_if_quiet(self) -> None:
        if self._requests.running:
            return
        if not self.released:
            self.released = True
            for account_id, lane in self.lanes.items():
                self.submit(account_id, hand_over(lane, self.now()))
        if self._committer.quiet:
            self.alive = False
            self.expelled = True
            self._world.broker.expel(self.name)
            self.note("released")

    def _must_end(self, why: str) -> None:
        self.note(f"must end: {why}")
        self._world.audit.seen[why] += 1
        self.kill()

    def _end(self, how: str) -> None:
        if self.alive:
            self.alive = False
            self._committer.stop()
            self._expel()
            self.note(how)

    def _expel(self) -> None:
        """Out of the group, not in order."""
        self.expelled = True
        self._world.audit.crashed.add(self.name)
        self._world.broker.expel(self.name)

    def note(self, line: str) -> None:
        self._world.trace(f"{self.name} {line}")
