"""When what goes wrong: a plan made from a seed alone. Pure.

What must stay true: the same seed, length and number of brokers give the same plan; a plan of five minutes has at least
ten kills, three pauses and two restarts of a broker, and shorter ones their share; the last of it is over before the
end, and no two faults take a broker away at once.
"""

from collections.abc import Iterator
from enum import StrEnum
from random import Random
from typing import NamedTuple


class Kind(StrEnum):
    """What goes wrong."""

    KILL = "kill"  # SIGKILL of a worker
    TERM = "term"  # SIGTERM of a worker, as a rolling update does
    PAUSE = "pause"  # SIGSTOP of a worker beyond its session, then SIGCONT
    BROKER_RESTART = "broker_restart"  # a broker is stopped in order, and comes back
    BROKER_KILL = "broker_kill"  # a broker is killed, and comes back
    BROKER_PAUSE = "broker_pause"  # a broker freezes
    KAFKA_CUT = "kafka_cut"  # one worker's connections to Kafka are reset and refused
    KAFKA_SILENCE = "kafka_silence"  # nothing gets through between one worker and Kafka
    KAFKA_DEAF = "kafka_deaf"  # Kafka hears one worker, the worker hears nothing
    API_CUT = "api_cut"  # one worker's connections to the API are reset and refused
    API_SILENCE = "api_silence"  # nothing gets through between one worker and the API for a while


class Fault(NamedTuple):
    """One thing that goes wrong, ``at_s`` after the start and for ``length_s``. ``chance`` (0..1) picks the victim."""

    at_s: float
    kind: Kind
    length_s: float
    chance: float


# How often in five minutes, and for how long in seconds.
_RATES = {
    Kind.KILL: (13, (0.0, 0.0)),
    Kind.TERM: (3, (0.0, 0.0)),
    Kind.PAUSE: (4, (4.0, 9.0)),
    Kind.BROKER_RESTART: (2, (0.5, 6.0)),
    Kind.BROKER_KILL: (2, (0.5, 20.0)),
    Kind.BROKER_PAUSE: (2, (3.0, 12.0)),
    Kind.KAFKA_CUT: (2, (0.5, 8.0)),
    Kind.KAFKA_SILENCE: (2, (2.0, 20.0)),
    Kind.KAFKA_DEAF: (1, (2.0, 12.0)),
    Kind.API_CUT: (2, (0.5, 5.0)),
    Kind.API_SILENCE: (2, (1.0, 8.0)),
}
_OF_BROKERS = frozenset({Kind.BROKER_RESTART, Kind.BROKER_KILL, Kind.BROKER_PAUSE})
_RATES_ARE_FOR_S = 300.0

# Before the first fault, and after the last one has begun.
WARM_UP_S = 5.0
CALM_S = 6.0
# A broker that was away needs this until its clients have found back to it.
_BROKER_BACK_S = 8.0


def plan(seconds: float, seed: int) -> list[Fault]:
    """All that goes wrong in a run of so many ``seconds``, in order."""
    random = Random(f"chaos {seed}")
    kinds = list(_kinds(seconds, random))
    span_s = seconds - WARM_UP_S - CALM_S
    slot_s = span_s / len(kinds)
    faults: list[Fault] = []
    broker_back_s = 0.0
    for number, kind in enumerate(kinds):
        at_s = WARM_UP_S + slot_s * (number + random.random())
        shortest_s, longest_s = _RATES[kind][1]
        if kind in _OF_BROKERS:
            # In a short run a long outage would leave no time for anything else.
            longest_s = max(shortest_s, longest_s * min(1.0, 0.2 + seconds / _RATES_ARE_FOR_S))
        length_s = random.uniform(shortest_s, longest_s)
        latest_s = seconds - CALM_S / 2 - length_s
        if kind in _OF_BROKERS:
            at_s = max(at_s, broker_back_s)
            if at_s > latest_s:
                continue
            broker_back_s = at_s + length_s + _BROKER_BACK_S
        faults.append(Fault(min(at_s, latest_s), kind, length_s, random.random()))
    return sorted(faults)


def _kinds(seconds: float, random: Random) -> Iterator[Kind]:
    """The kinds in random order, those of brokers spread out."""
    share = seconds / _RATES_ARE_FOR_S
    least = floors(seconds)
    # What is left of a share happens by chance.
    counts = {
        kind: max(least.get(kind, 0), int(count * share + random.random())) for kind, (count, _) in _RATES.items()
    }
    others = [kind for kind, count in counts.items() if kind not in _OF_BROKERS for _ in range(count)]
    brokers = [kind for kind, count in counts.items() if kind in _OF_BROKERS for _ in range(count)]
    random.shuffle(others)
    random.shuffle(brokers)
    every = len(others) / max(1, len(brokers))
    for number, kind in enumerate(brokers):
        yield kind
        yield from others[round(number * every) : round((number + 1) * every)]


def floors(seconds: float) -> dict[Kind, int]:
    """How often each kind that the project promises must really have happened."""
    share = seconds / _RATES_ARE_FOR_S
    promised = {Kind.KILL: 10, Kind.PAUSE: 3, Kind.BROKER_RESTART: 2}
    return {kind: max(1, int(count * share)) for kind, count in promised.items()}
