"""How the API of a history keeps its limits: as it is documented, or less kindly."""

import random
from collections import defaultdict, deque
from dataclasses import dataclass, field

from streams.truecaller.rate_limit import Exhausted
from tests.lane.simulation.audit import Audit, demand
from tests.lane.simulation.virtual_time import VirtualTime

TOKEN_LIFE_S = 3600.0
MINUTE_S, HALF_HOUR_S = 60.0, 1800.0


@dataclass(frozen=True, slots=True)
class Nature:
    """What does not change when everything heals.

    ``revokes``: a new token ends those before it. ``allows``: the share of the documented requests that it really
    takes. ``says_left``: its answers tell when a token has no request left.
    """

    revokes: bool = False
    allows: float = 1.0
    says_left: bool = False


def draw_nature(rng: random.Random) -> Nature:
    """Mostly as documented."""
    return Nature(
        revokes=rng.random() < 0.15, allows=rng.choice([1.0, 1.0, 1.0, 0.5]), says_left=rng.choice([False, True])
    )


@dataclass(slots=True)
class Limits:
    """What the API counts: the requests of each token, the mints of each account. Asked when a request arrives."""

    time: VirtualTime
    audit: Audit
    nature: Nature
    requests_max: int
    mints_max: int
    _granted_s: dict[str, float] = field(default_factory=dict)
    _accounts: dict[str, str] = field(default_factory=dict)
    _requests: defaultdict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    _mints: defaultdict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))

    @property
    def _allowed(self) -> int:
        return max(1, round(self.requests_max * self.nature.allows))

    def minting(self, account_id: str) -> None:
        """A token is asked for."""
        self._count(self._mints[account_id], HALF_HOUR_S, self.mints_max, account_id)

    def granted(self, account_id: str, token: str) -> None:
        """It is granted."""
        others = [other for other, owner in self._accounts.items() if owner == account_id and self._good(other)]
        if others:
            self.audit.seen["pool of several"] += 1
        for other in others if self.nature.revokes else []:
            self.audit.seen["revoked"] += 1
            self.revoke(other)
        self._granted_s[token] = self.time.now_s
        self._accounts[token] = account_id

    def revoke(self, token: str) -> None:
        """This token is good no more."""
        self._granted_s.pop(token, None)

    def request(self, account_id: str, token: str) -> str:
        """A request arrives: ``fair``, ``unauthorised`` or ``throttled``."""
        demand(self._accounts[token] == account_id, "a token serves its own account", token)
        times = self._requests[token]
        self._count(times, MINUTE_S, self.requests_max, token)
        if not self._good(token):
            return "unauthorised"
        if len(times) > self._allowed:
            times.pop()
            self.audit.seen["throttled by a stricter limit"] += 1
            return "throttled"
        return "fair"

    def left(self, token: str) -> Exhausted | None:
        """What an answer says of the requests that are left."""
        times = self._requests[token]
        if not self.nature.says_left or len(times) < self._allowed:
            return None
        self.audit.seen["nothing left"] += 1
        return Exhausted(times[0] + MINUTE_S - self.time.now_s)

    def _good(self, token: str) -> bool:
        return self.time.now_s < self._granted_s.get(token, float("-inf")) + TOKEN_LIFE_S

    def _count(self, times: deque[float], window_s: float, count_max: int, what: str) -> None:
        while times and times[0] <= self.time.now_s - window_s:
            times.popleft()
        times.append(self.time.now_s)
        demand(len(times) <= count_max, "no window holds more than its limit", (len(times), what, window_s))
