"""One history: a partition, its dialers, and its owners one after the other, from a seed to the end of everything."""

import random
from collections import Counter, deque

from tests.lane.simulation.audit import Audit, Violation, demand
from tests.lane.simulation.fake_api import FakeApi
from tests.lane.simulation.shell import Surroundings, Worker
from tests.lane.simulation.traffic import ParcelLog
from tests.lane.simulation.virtual_time import VirtualTime
from tests.lane.simulation.weather import draw_options, draw_weather

# By then every call is over, every status deadline has passed and the mint budget is whole again.
HEALED_WITHIN_S = 36 * 3600.0

# So many of the workers that fail are not dead but cut off, and go on for a while.
CUT_SHARE = 0.25

EVENTS_MAX = 200_000


class History:
    """Everything follows from the seed. ``trace`` keeps the last lines of what happened."""

    def __init__(self, seed: int, trace_max: int | None = 60) -> None:
        rng = random.Random(seed)
        self.time = VirtualTime()
        self.trace: deque[str] = deque(maxlen=trace_max)
        options = draw_options(rng)
        weather = draw_weather(rng)
        self.audit = Audit(options.ambiguous_resends_max)
        requests_max, mints_max = options.requests_per_minute_per_token, options.token_mints_per_30_min
        self.api = FakeApi(self.time, random.Random(rng.random()), self.audit, weather, requests_max, mints_max)
        self.log = ParcelLog(random.Random(rng.random()), self.audit, rng.randint(1, 4))
        self._world = Surroundings(
            self.time, random.Random(rng.random()), self.audit, self.api, self.log, options, self._note
        )
        self._rng = rng
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
        self._note(f"{self._world.options} {self.api.weather}")
        rng, log = self._rng, self.log
        for _ in range(rng.randint(0, 6)):
            log.append(self.time.wall_ms)
        for _ in range(rng.randint(5, 25)):
            self.time.call_in(rng.uniform(0, self._chaos_s), lambda: log.append(self.time.wall_ms))
        self._start_worker()
        self._hand_over_later()
        while self.time.now_s < self._chaos_s and self.time.step():
            self._misfortune()
        self.api.weather = self.api.weather.healed()
        self._note("HEALED")
        log.append_patient(self.time.wall_ms)
        self._heal()
        self.audit.ended(log.end)
        return self.audit.seen

    def _start_worker(self) -> None:
        self._names += 1
        self._note(f"worker-{self._names} starts")
        self._worker = Worker(self._world, f"worker-{self._names}")

    def _misfortune(self) -> None:
        worker = self._worker
        if worker is not None and worker.alive and self._rng.random() < self.api.weather.kill_share:
            if self._rng.random() < CUT_SHARE:
                worker.cut()
                self.audit.seen["cut off"] += 1
            else:
                worker.kill()
                self.audit.seen["kills"] += 1
        self._replace_worker()

    def _replace_worker(self) -> None:
        worker = self._worker
        if worker is not None and (worker.cut_off or not worker.alive):
            self._worker = None
            self.time.call_in(self._rng.uniform(*self.api.weather.absence_s), self._start_worker)

    def _hand_over_later(self) -> None:
        if self.api.weather.hand_over_s is not None:
            self.time.call_in(self._rng.expovariate(1 / self.api.weather.hand_over_s), self._hand_over)

    def _hand_over(self) -> None:
        worker = self._worker
        if worker is not None and worker.alive and not worker.released:
            worker.release()
            self.audit.seen["hand-overs"] += 1
        self._hand_over_later()

    def _heal(self) -> None:
        give_up_s = self.time.now_s + HEALED_WITHIN_S
        events = 0
        while not self._over():
            demand(self.time.step(), "something always follows until all is done", self.time.now_s)
            self._replace_worker()
            demand(self.time.now_s < give_up_s, "all is done some time after everything has healed")
            events += 1
            demand(events < EVENTS_MAX, "there is an end to what happens", events)

    def _over(self) -> bool:
        if not self.audit.settled or self.audit.offset != self.log.end:
            return False
        return self._worker is not None and self._worker.alive and self._worker.done


def replay(seed: int, trace_max: int | None = 60) -> Counter[str]:
    """Live through the history of a seed. A violation carries the seed and the end of the trace."""
    history = History(seed, trace_max)
    try:
        return history.run()
    except Violation as violation:
        story = "\n".join(history.trace)
        raise Violation(violation.rule, f"{violation.args[0]}\nseed {seed}, after:\n{story}") from None
    except Exception as error:
        error.add_note("seed {}, after:\n{}".format(seed, "\n".join(history.trace)))
        raise
