"""Faults on order: what goes wrong, how often, for which kind of request.

A plan is written ``NAME=VALUE,…`` as in ``429=0.05,post.hang=0.001,retry_after=5``. A rate is a share of requests
between 0 and 1; without a kind in front it holds for POSTs and status checks. What must stay true: the same seed and
the same order of requests give the same faults, and a name that is not in the table is an error that lists the table.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from random import Random
from typing import Final, Literal, NamedTuple

Kind = Literal["post", "check", "mint", "labels"]
KINDS: Final[tuple[Kind, ...]] = ("post", "check", "mint", "labels")

# About what a campaign sees: most records reach their device.
FAILED_SHARE: Final = 0.02


class Effect(Enum):
    """What becomes of the answer."""

    ANSWER = "answer"
    EMPTY = "empty"  # 200 with nothing in it
    CUT = "cut"  # half of the answer, then the connection is closed
    HANG = "hang"  # no answer until the client goes away
    RESET = "reset"  # no answer, the connection is reset


class Fault(NamedTuple):
    """One thing that can go wrong. ``status`` replaces the true one; ``applied``: it takes effect all the same."""

    name: str
    effect: Effect
    kinds: tuple[Kind, ...]
    status: int | None = None
    applied: bool = False


_CODES: Final = (400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504)
_FAULTS: Final = (
    *(Fault(str(code), Effect.ANSWER, KINDS, code) for code in _CODES),
    Fault("token500", Effect.ANSWER, ("post", "check", "labels"), 500),
    Fault("applied500", Effect.ANSWER, ("post",), 500, applied=True),
    Fault("untracked", Effect.EMPTY, ("post",), applied=True),
    Fault("cut", Effect.CUT, KINDS, applied=True),
    Fault("hang", Effect.HANG, KINDS, applied=True),
    Fault("reset", Effect.RESET, KINDS),
)
FAULTS: Final[Mapping[str, Fault]] = {fault.name: fault for fault in _FAULTS}

_SETTINGS: Final = ("bad", "burst429", "drift", "failed", "masked", "retry_after")


class Burst(NamedTuple):
    """For ``length_s`` from ``start_s`` after the start, every POST and status check gets the same answer.

    With an ``account_id`` only those of that account do.
    """

    length_s: float
    start_s: float
    account_id: str | None = None

    def hits(self, kind: Kind, account_id: str, running_s: float) -> bool:
        """Whether this request meets it."""
        if kind == "mint" or self.account_id not in {None, account_id}:
            return False
        return self.start_s <= running_s < self.start_s + self.length_s


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What shall go wrong.

    ``rates`` are shares of requests by kind and fault. ``failed`` is the share of records whose final status is an
    error, ``masked`` the share of batches whose status answers hide the numbers. ``retry_after_s`` goes with each 429.
    ``burst`` is answered with 429. In a ``drift`` every batch is refused for its content, and always one with a record
    whose receiver ends with ``bad``, where that is not empty.
    """

    rates: Mapping[Kind, Mapping[str, float]] = field(default_factory=dict)
    failed: float = FAILED_SHARE
    masked: float = 1.0
    retry_after_s: float | None = None
    burst: Burst | None = None
    drift: Burst | None = None
    bad: str = ""

    @classmethod
    def parse(cls, spec: str) -> "FaultPlan":
        """Read ``NAME=VALUE,…``; an empty text is a plan without faults.

        Raises:
            ValueError: an item is not understood; the text says which and what would be.
        """
        rates: dict[Kind, dict[str, float]] = {}
        plan = cls(rates)
        for name, value in _items(spec):
            if name in _SETTINGS:
                plan = plan._with(name, value)
            else:
                for kind, fault in _targets(name):
                    rates.setdefault(kind, {})[fault.name] = _share(name, value)
        for kind, shares in rates.items():
            if sum(shares.values()) > 1:
                raise ValueError(f"the rates of {kind} requests add up to more than 1")
        return plan

    def _with(self, name: str, value: str) -> "FaultPlan":
        match name:
            case "bad":
                return replace(self, bad=_digits(name, value))
            case "burst429":
                return replace(self, burst=_burst(name, value))
            case "drift":
                return replace(self, drift=_burst(name, value))
            case "failed":
                return replace(self, failed=_share(name, value))
            case "masked":
                return replace(self, masked=_share(name, value))
            case _:
                return replace(self, retry_after_s=_seconds(name, value))


class Dice:
    """Throws the faults of a plan. One generator per kind, so that checks do not change what happens to POSTs."""

    def __init__(self, plan: FaultPlan, seed: int) -> None:
        self._plan = plan
        self._random = {kind: Random(f"{seed}/{kind}") for kind in KINDS}

    def throw(self, kind: Kind, account_id: str, running_s: float) -> Fault | None:
        """Return what goes wrong with this request, if anything. ``running_s`` is the time since the start."""
        burst = self._plan.burst
        if burst and burst.hits(kind, account_id, running_s):
            return FAULTS["429"]
        drift = self._plan.drift
        if drift and kind == "post" and drift.hits(kind, account_id, running_s):
            return FAULTS["400"]
        shares = self._plan.rates.get(kind)
        if not shares:
            return None
        point = self._random[kind].random()
        for name, share in shares.items():
            point -= share
            if point < 0:
                return FAULTS[name]
        return None


def _items(spec: str) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for item in filter(None, (part.strip() for part in spec.split(","))):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not value:
            raise ValueError(f"{item!r} is not NAME=VALUE")
        if name in seen:
            raise ValueError(f"{name!r} is given twice")
        seen.add(name)
        yield name, value


def _targets(name: str) -> list[tuple[Kind, Fault]]:
    prefix, dot, rest = name.partition(".")
    fault = FAULTS.get(rest if dot else name)
    kinds = [kind for kind in KINDS if kind == prefix] if dot else ["post", "check"]
    targets = [(kind, fault) for kind in kinds if fault and kind in fault.kinds]
    if not targets:
        raise ValueError(
            f"unknown fault {name!r}; known: {', '.join((*FAULTS, *_SETTINGS))}; "
            f"a fault may be held to one kind of request, as in post.500=0.1 ({', '.join(KINDS)})"
        )
    return targets


def _share(name: str, value: str) -> float:
    share = _number(value)
    if share is None or share > 1:
        raise ValueError(f"{name}={value}: must be a share between 0 and 1")
    return share


def _seconds(name: str, value: str) -> float:
    seconds = _number(value)
    if seconds is None:
        raise ValueError(f"{name}={value}: must be a number of seconds")
    return seconds


def _digits(name: str, value: str) -> str:
    if not value.isdecimal() or not value.isascii():
        raise ValueError(f"{name}={value}: must be digits")
    return value


def _burst(name: str, value: str) -> Burst:
    when, for_one, account_id = value.partition("/")
    length, at, start = when.partition("@")
    length_s, start_s = _number(length), _number(start)
    if not at or length_s is None or start_s is None or (for_one and not account_id):
        raise ValueError(
            f"{name}={value}: must be SECONDS@START, as in 20@30 (20 s of it, 30 s after the start), "
            "or SECONDS@START/ACCOUNT for one account alone"
        )
    return Burst(length_s, start_s, account_id.lower() if for_one else None)


def _number(text: str) -> float | None:
    if not text.replace(".", "", 1).isdecimal() or not text.isascii():
        return None
    return float(text)
