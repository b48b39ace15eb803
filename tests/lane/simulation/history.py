"""One history: a partition, its dialers, and its owners one after the other, from a seed to the end of everything."""

import random
from collections import Counter, deque
from collections.abc import Callable

from tests.lane.simulation.audit import Audit, Violation, demand
from tests.lane.simulation.broker import Broker
from tests.lane.simulation.fake_api import FakeApi
from tests.lane.simulation.nature import Limits, draw_nature
from tests.lane.simulation.shell import Worker
from tests.lane.simulation.surroundings import Surroundings
from tests.lane.simulation.traffic import ParcelLog
from tests.lane.simulation.virtual_time import MachineClock, VirtualTime
from tests.lane.simulation.weather import draw_bounds, draw_labels, draw_options, draw_refusals, draw_weather

# By then every call that was waiting is over, every status deadline has passed, the mint budget is whole again, and
# what has time has been sent: about two and a half hours.
HEALED_WITHIN_S = 6 * 3600.0

# The others have sent and settled everything by then, whatever one account meets.
OTHERS_WITHIN_S = 4 * 3600.0

# A few machines, so that some of the workers of a history share a clock.
MACHINES = 3

PAUSE_S_MAX = 90.0

EVENTS_MAX = 400_000


class History:
    """Everything follows from the seed. ``trace`` keeps the last lines of what happened, none with ``trace_max`` 0."""

    def __init__(self, seed: int, trace_max: int | None = 0) -> None:
        rng = random.Random(seed)
        self.time = VirtualTime()
        self.trace: deque[str] = deque(maxlen=trace_max)
        options, room, patience = draw_bounds(random.Random(f"bounds of {seed}"), draw_options(rng))
        options, weather = draw_refusals(random.Random(f"refusals of {seed}"), options, draw_weather(rng))
        labels = random.Random(f"labels of {seed}")
        options, weather = draw_labels(labels, options, weather)
        self.audit = Audit(self.time, options)
        requests_max, mints_max = options.requests_per_minute_per_token, options.token_mints_per_30_min
        nature = draw_nature(random.Random(f"nature of {seed}"))
        limits = Limits(self.time, self.audit, nature, requests_max, mints_max)
        self.api = FakeApi(self.time, random.Random(rng.random()), self.audit, weather, limits)
        self.log = ParcelLog(random.Random(rng.random()), self.audit, rng.randint(1, 4), labels, weather.strange)
        if weather.forsaken is not None:
            self.api.forsaken = self.log.accounts[weather.forsaken]
        note = self._note if trace_max != 0 else _silent
        broker = Broker(self.time, random.Random(rng.random()), self.audit, note)
        self._world = Surroundings(
            self.time,
            random.Random(rng.random()),
            self.audit,
            self.api,
            self.log,
            broker,
            options,
            room,
            patience,
            note,
        )
        self._rng = rng
        self._machines = [MachineClock(rng) for _ in range(MACHINES)]
        self._names = 0
        self._chaos_s = rng.choice([60.0, 200.0, 900.0])
        self._worker: Worker | None = None

    def _note(self, line: str) -> None:
        self.trace.append(f"{self.time.now_s:10.3f} {line}")

    def run(self) -> Counter[str]:
        """Live through it; returns what was seen.

        Raises:
            Violation: A promise was broken.
        """
        rng, log = self._rng, self.log
        self._world.trace(f"{self._world.options}")
        self._world.trace(f"{self.api.weather}")
        for _ in range(rng.randint(0, 6) + self.api.weather.flood):
            log.append(self.time.wall_ms)
        for _ in range(rng.randint(5, 25)):
            self.time.call_in(rng.uniform(0, self._chaos_s), self._append)
        self._start_worker()
        self._later(self.api.weather.hand_over_s, self._hand_over)
        self._later(self.api.weather.clock_jump_s, self._jump)
        self._later(self.api.weather.command_s, self._command)
        while self.time.now_s < self._chaos_s and self.time.step():
            self._misfortune()
        self.api.weather = self.api.weather.healed()
        self._world.trace("HEALED")
        for account_id in log.accounts:
            log.append_command("resume", account_id)
        log.append_patient(self.time.wall_ms, self.api.forsaken)
        self._heal()
        self.audit.ended(self.api.forsaken)
        return self.audit.seen

    def _append(self) -> None:
        self.log.append(self.time.wall_ms)
        self._poke()

    def _poke(self) -> None:
        if self._worker is not None:
            self._worker.process.enter(self._worker.more)

    def _command(self) -> None:
        """An operator who knows what the API has says so, mostly; or pauses an account, or lets it go on."""
        rng, doubtful = self._rng, self.audit.doubtful()
        if self.api.weather.command_s is None:
            return
        if doubtful and rng.random() < 0.8:
            account_id, ref, batch_ids = rng.choice(doubtful)
            if rng.random() < 0.3:
                self.log.append_command("give_up", account_id, batch_ref=ref)
            elif batch_ids and rng.random() < 0.9:
                self.log.append_command("accept", account_id, batch_ref=ref, batch_id=min(batch_ids))
            else:
                self.log.append_command("resend", account_id, batch_ref=ref)
        else:
            self.log.append_command(rng.choice(["pause", "resume", "resume"]), rng.choice(self.log.accounts))
        self._poke()
        self._later(self.api.weather.command_s, self._command)

    # -- what happens to workers

    def _start_worker(self) -> None:
        self._names += 1
        name, machine = f"worker-{self._names}", self._rng.randrange(MACHINES)
        self._world.trace(f"{name} starts on machine {machine}, {self._machines[machine].off_ms} ms off")
        self._worker = Worker(self._world, name, self._machines[machine])

    def _misfortune(self) -> None:
        worker, weather = self._worker, self.api.weather
        if worker is not None and self._rng.random() < weather.worker_share:
            fault = self._rng.choice(weather.worker_faults)
            if worker.alive and not worker.process.paused and not worker.expelled:
                self._strike(worker, fault)
        self._replace_worker()

    def _strike(self, worker: Worker, fault: str) -> None:
        self.audit.seen[fault] += 1
        match fault:
            case "kill":
                worker.kill()
            case "cut off":
                worker.cut()
            case "lost":
                worker.lose_unawares()
            case _:
                worker.pause(self._rng.choice([1.0, 8.0, PAUSE_S_MAX]) * self._rng.random())

    def _replace_worker(self) -> None:
        worker = self._worker
        if worker is not None and worker.expelled:
            self._worker = None
            self.time.call_in(self._rng.uniform(*self.api.weather.absence_s), self._start_worker)

    def _later(self, mean_s: float | None, change: Callable[[], None]) -> None:
        if mean_s is not None:
            self.time.call_in(self._rng.expovariate(1 / mean_s), change)

    def _hand_over(self) -> None:
        worker = self._worker
        if worker is not None and worker.alive and not worker.draining:
            self.audit.seen["hand-over"] += 1
            worker.process.enter(worker.release)
        self._later(self.api.weather.hand_over_s, self._hand_over)

    def _jump(self) -> None:
        self.audit.seen["clock jump"] += 1
        self._rng.choice(self._machines).jump()
        self._later(self.api.weather.clock_jump_s, self._jump)

    # -- healing

    def _heal(self) -> None:
        others_by_s = self.time.now_s + (OTHERS_WITHIN_S if self.api.forsaken else HEALED_WITHIN_S)
        all_by_s = self.time.now_s + HEALED_WITHIN_S
        events = 0
        while not self._over():
            demand(self.time.step(), "something always follows until all is done", self.time.now_s)
            self._replace_worker()
            if self.time.now_s > others_by_s:
                others_by_s = float("inf")
                demand(self.audit.only(self.api.forsaken), "one account holds up no other")
            demand(self.time.now_s < all_by_s, "all is done some time after everything has healed")
            events += 1
            demand(events < EVENTS_MAX, "there is an end to what happens", events)
        self.audit.seen["virtual hours"] += round(self.time.now_s / 3600)

    def _over(self) -> bool:
        if not self.audit.settled or self.audit.offset != self.log.end:
            return False
        return self._worker is not None and self._worker.alive and self._worker.done


def _silent(_line: str) -> None:
    """Nobody reads the trace of a history that goes well."""


def replay(seed: int, trace_max: int | None = 0) -> Counter[str]:
    """Live through the history of a seed. A violation carries the seed and the end of the trace."""
    history = History(seed, trace_max)
    try:
        return history.run()
    except Violation as violation:
        raise Violation(violation.rule, f"{violation.args[0]}\n{_story(seed, history)}") from None
    except Exception as error:
        error.add_note(_story(seed, history))
        raise


def _story(seed: int, history: History) -> str:
    return "\n".join([f"seed {seed}, after:", *history.trace]) if history.trace else f"seed {seed}"
