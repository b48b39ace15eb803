"""What goes wrong in one history, drawn from its seed.

Each history has only some of the faults (swarm testing): rare combinations come up more often than if every history
had a little of everything.
"""

import random
from dataclasses import dataclass, field, replace
from typing import Final

from streams.lane.labels import LabelMode
from streams.lane.options import LaneOptions
from streams.lane.reading import Patience, Room

POST_FAULTS: Final = (
    "unreachable", "request_cut", "throttled", "throttled_until", "unauthorised", "token_unread", "forbidden",
    "refused", "broken", "unavailable", "redirect", "lost", "cut", "answer_cut", "late", "untracked",
)  # fmt: skip
CHECK_FAULTS: Final = (
    "unreachable", "not_visible", "throttled", "unauthorised", "token_unread", "forbidden", "broken", "incomplete",
)  # fmt: skip
MINT_FAULTS: Final = ("unreachable", "throttled", "forbidden", "broken", "cut")
LABEL_FAULTS: Final = ("unreachable", "throttled", "unauthorised", "forbidden", "broken", "lost", "empty")
COMMIT_FAULTS: Final = ("aborted", "unknown", "hangs")
WORKER_FAULTS: Final = ("kill", "cut off", "pause", "lost")

# A worker says goodbye, a clock is set, an operator decides: all has to be right, although nothing is broken.
CHANGES: Final = (
    "hand-over",
    "clock jump",
    "pause applied",
    "resume applied",
    "accept applied",
    "resend applied",
    "give_up applied",
)

FAULTS: Final = (
    *(f"post {fault}" for fault in POST_FAULTS),
    *(f"check {fault}" for fault in CHECK_FAULTS),
    *(f"mint {fault}" for fault in MINT_FAULTS),
    *(f"labels {fault}" for fault in LABEL_FAULTS),
    *(f"commit {fault}" for fault in COMMIT_FAULTS),
    *WORKER_FAULTS,
    *CHANGES,
)


@dataclass(frozen=True, slots=True)
class Weather:
    """Shares of faults among requests and commits, spans of seconds, and what happens to workers.

    ``worker_faults`` are what may happen to a worker, with a chance of ``worker_share`` after any event. A worker that
    is silent for ``session_s`` is expelled; the next one begins within ``absence_s``. ``hand_over_s`` and
    ``clock_jump_s`` are mean times between orderly hand-overs and between jumps of a clock, ``command_s`` between the
    commands of an operator. ``forsaken`` is the index of an account for which nothing ever gets better. ``bad`` is the
    share of intents that the API refuses, with everything that is in one batch with them; ``drift_s``, from when to
    when it refuses everything. ``flood`` is how many parcels more there are at the beginning. ``strange`` is the share
    of intents whose label their account does not have.
    """

    posts: dict[str, float] = field(default_factory=dict)
    checks: dict[str, float] = field(default_factory=dict)
    mints: dict[str, float] = field(default_factory=dict)
    commits: dict[str, float] = field(default_factory=dict)
    worker_faults: tuple[str, ...] = ()
    worker_share: float = 0.0
    latency_s: tuple[float, float] = (0.02, 0.5)
    commit_s: tuple[float, float] = (0.005, 0.1)
    absence_s: tuple[float, float] = (0.1, 1.0)
    session_s: float = 10.0
    hand_over_s: float | None = None
    clock_jump_s: float | None = None
    command_s: float | None = None
    masked: bool = False
    forsaken: int | None = None
    bad: float = 0.0
    drift_s: tuple[float, float] = (0.0, 0.0)
    flood: int = 0
    labels: dict[str, float] = field(default_factory=dict)
    strange: float = 0.0

    def healed(self) -> "Weather":
        """No more faults; the API still masks what it masked, refuses what is bad, and has forsaken whom it had."""
        return replace(Weather(), masked=self.masked, forsaken=self.forsaken, bad=self.bad)


def draw_weather(rng: random.Random) -> Weather:
    """The weather of one history."""
    return Weather(
        posts=_some(rng, POST_FAULTS),
        checks=_some(rng, CHECK_FAULTS),
        mints=_some(rng, MINT_FAULTS),
        commits=_some_commits(rng),
        worker_faults=tuple(rng.sample(WORKER_FAULTS, rng.randint(1, len(WORKER_FAULTS)))),
        worker_share=rng.choice([0.0, 0.0005, 0.003, 0.01]),
        latency_s=rng.choice([(0.02, 0.5), (0.02, 5.0), (0.5, 14.0)]),
        commit_s=rng.choice([(0.005, 0.1), (0.005, 0.1), (0.05, 2.0), (0.1, 8.0)]),
        absence_s=rng.choice([(0.1, 1.0), (0.1, 60.0)]),
        session_s=rng.choice([6.0, 45.0]),
        hand_over_s=rng.choice([None, 20.0, 120.0]),
        clock_jump_s=rng.choice([None, 30.0]),
        command_s=rng.choice([None, 15.0, 60.0]),
        masked=rng.random() < 0.5,
        forsaken=rng.choice([None, None, None, 0]),
    )


def _some(rng: random.Random, faults: tuple[str, ...]) -> dict[str, float]:
    if rng.random() < 0.15:
        return {}
    chosen = rng.sample(faults, rng.randint(1, min(4, len(faults))))
    return {fault: rng.choice([0.2, 0.5, 0.9]) / len(chosen) for fault in chosen}


def _some_commits(rng: random.Random) -> dict[str, float]:
    if rng.random() < 0.5:
        return {}
    shares = {"aborted": 0.3, "unknown": 0.1, "hangs": 0.01}
    return {fault: shares[fault] for fault in rng.sample(COMMIT_FAULTS, rng.randint(1, 3))}


def pick(rng: random.Random, faults: dict[str, float]) -> str:
    """The fault of one request, or ``fair``."""
    if faults:
        roll = rng.random()
        for fault, share in faults.items():
            roll -= share
            if roll < 0:
                return fault
    return "fair"


def draw_options(rng: random.Random) -> LaneOptions:
    """The options that all accounts of one history share: small, so that every limit is met."""
    return LaneOptions(
        "",
        policy=rng.choice(["retry", "retry", "hold"]),
        records_max=rng.choice([1, 3, 8]),
        requests_per_minute_per_token=rng.choice([3, 12, 60]),
        intents_max=rng.choice([8, 1000]),
        in_flight_max_per_token=rng.choice([1, 2, 3]),
        open_batches_max=rng.choice([1, 3, 1200]),
        ambiguous_resends_max=rng.choice([0, 1, 2]),
        statuses=rng.choice(["all", "all", "best_effort", "none"]),
        status_deadline_s=rng.choice([60.0, 1800.0]),
    )


def draw_refusals(rng: random.Random, options: LaneOptions, weather: Weather) -> tuple[LaneOptions, Weather]:
    """What the API refuses for its content, and batches that are large enough to be divided more than once."""
    start_s = rng.choice([0.0, rng.uniform(0.0, 200.0)])
    refusals = replace(
        weather,
        bad=rng.choice([0.0, 0.0, 0.02, 0.1, 0.5]),
        drift_s=rng.choice([(0.0, 0.0), (0.0, 0.0), (start_s, start_s + rng.choice([20.0, 400.0]))]),
        flood=rng.choice([0, 0, 30]),
    )
    return replace(options, records_max=rng.choice([options.records_max, 40])), refusals


def draw_labels(rng: random.Random, options: LaneOptions, weather: Weather) -> tuple[LaneOptions, Weather]:
    """Whether labels are checked, how the API fails to list them, and how many intents name one that is not there."""
    mode: LabelMode = rng.choice(["off", "off", "off", "warn", "reject", "reject"])
    strange = rng.choice([0.0, 0.05, 0.3])
    return replace(options, labels=mode), replace(weather, labels=_some(rng, LABEL_FAULTS), strange=strange)


def draw_bounds(rng: random.Random, options: LaneOptions) -> tuple[LaneOptions, Room, Patience]:
    """How long a cursor may be, how much all lanes together may hold, and how long the others wait for one of them."""
    bounded = replace(options, cursor_runs_max=rng.choice([1, 4, 4096]), carry_records_max=rng.choice([1, 3, 100]))
    room = Room(rng.choice([12, 30, 10_000, 10_000]))
    patience = rng.choice([Patience(), Patience(seconds=2.0), Patience(offsets=3)])
    return replace(bounded, tokens_max=rng.choice([1, rng.randint(2, 9), 10, 10])), room, patience
