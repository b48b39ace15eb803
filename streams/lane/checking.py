"""When to ask for the statuses of an accepted batch.

A check costs as much as a POST that carries 500 intents, so the first one comes when batches of the account usually are
done, and the later ones back off. Submits go first until there are as many open batches as there may be; where all
statuses are wanted checks go first then, so that with ``k`` checks a batch the two settle at ``1 : k``. There may be no
more than can be asked for well before their deadline.
"""

import random
from dataclasses import dataclass, field

from streams.lane.batch import Batch, Phase
from streams.lane.due import Due
from streams.lane.instant import Instant

# The first check comes when batches of this account usually are done; before any is known, after this.
FIRST_CHECK_S = 5.0
FIRST_CHECK_MIN_S = 2.0
FIRST_CHECK_MAX_S = 60.0

# Later checks back off to this; a jitter of a fifth keeps the batches of a burst from asking together for ever.
CHECK_CAP_S = 60.0
JITTER = 0.2

# A check that never brings an answer, or is never made, must not keep a batch open much beyond its deadline.
DEADLINE_GRACE_S = 120.0
GIVE_UP_EVERY_S = 10.0

# Open batches are so many that each can be asked for once within this share of the deadline. The rest is for those that
# are asked for more than once, and for submits in between.
ROUND_SHARE = 0.25

# How much of a new observation goes into the average.
_WEIGHT = 0.2

# A batch that is done at its first check was done before, nobody knows when. So the first check comes a little earlier
# from batch to batch, until one comes too early: about one in ten, a tenth of a request for each batch.
_EARLIER = 0.98


@dataclass(slots=True)
class CheckTimes:
    """Learns how long batches of one account take, and how many checks (exponentially weighted averages)."""

    usual_s: float = FIRST_CHECK_S
    usual_checks: float = 1.0

    def learn(self, too_early_s: float | None, asked_s: float, checks: int) -> None:
        """A batch was done at its last check of so many, which was to be made ``asked_s`` after it was accepted.

        ``too_early_s`` is when it was not done yet; ``None`` where nobody had said so.
        """
        took_s = _EARLIER * min(asked_s, self.first_s()) if too_early_s is None else (too_early_s + asked_s) / 2
        self.usual_s += _WEIGHT * (min(FIRST_CHECK_MAX_S, took_s) - self.usual_s)
        self.usual_checks += _WEIGHT * (checks - self.usual_checks)

    def requests(self) -> float:
        """How many requests a batch costs: its POST and its checks."""
        return 1.0 + self.usual_checks

    def first_s(self) -> float:
        """Seconds from acceptance to the first check."""
        return min(FIRST_CHECK_MAX_S, max(FIRST_CHECK_MIN_S, self.usual_s))

    def next_s(self, checks: int, rng: random.Random) -> float:
        """Seconds from the ``checks``-th unsuccessful check to the next."""
        wait_s = min(CHECK_CAP_S, self.first_s() * 2.0 ** min(checks, 16) / 2)
        return max(1.0, wait_s * rng.uniform(1 - JITTER, 1 + JITTER))


@dataclass(slots=True)
class Checks:
    """The accepted batches of a lane that wait for a check, and how many checks are running (``running_max`` at most).

    ``deadline_s`` is how long after its acceptance the statuses of a batch are waited for.
    """

    running_max: int
    deadline_s: float
    due: Due = field(default_factory=Due)
    times: CheckTimes = field(default_factory=CheckTimes)
    running: int = 0
    _give_up_at_s: float = float("-inf")

    def at(self, batch: Batch, when_s: float) -> None:
        """The next check of a batch, not before ``when_s``."""
        batch.phase = Phase.CHECK_DUE
        batch.check_at_s = when_s
        self.due.add(batch, when_s)

    def done(self, batch: Batch) -> None:
        """A batch was done when it was checked now."""
        too_early_s = None if batch.pending_s is None else batch.pending_s - batch.accepted_s
        self.times.learn(too_early_s, max(0.0, batch.check_at_s - batch.accepted_s), batch.checks + 1)

    @property
    def next_at(self) -> float:
        """When the next check should start, provided there is a slot; infinity if only an event can help."""
        return self.due.first_at() if self.running < self.running_max else float("inf")

    def in_time(self, requests_per_minute: int) -> int:
        """How many batches can be asked for in time with so many requests."""
        return max(1, round(ROUND_SHARE * self.deadline_s / 60 * requests_per_minute))

    def start(self, now_s: float) -> Batch | None:
        """The batch to be checked now, if one is due."""
        batch = self.due.pop(now_s) if self.running < self.running_max else None
        if batch is not None:
            batch.phase = Phase.CHECK
            self.running += 1
        return batch

    def accepted(self, batch: Batch, now: Instant) -> None:
        """The API has accepted this batch, as its entry says; from now on the clock is used that does not jump."""
        assert batch.entry.accepted_at is not None, "only accepted batches are checked"
        batch.accepted_s = now.boot_of(batch.entry.accepted_at)

    def deadline_of(self, batch: Batch) -> float:
        """When the statuses of an accepted batch are no longer waited for, as ``boot_s``."""
        return batch.accepted_s + self.deadline_s

    @property
    def give_up_at(self) -> float:
        """When :meth:`given_up` should be asked next; infinity if only an event can make that worth it."""
        return max(self._give_up_at_s, self.due.first_at() + DEADLINE_GRACE_S)

    def given_up(self, now: Instant) -> list[Batch]:
        """Take out the batches whose deadline went by long ago without a request to spare for their check."""
        if self.give_up_at > now.boot_s:
            return []
        self._give_up_at_s = now.boot_s + GIVE_UP_EVERY_S
        given_up = []
        for when_s, batch in self.due.drain():
            if self.deadline_of(batch) + DEADLINE_GRACE_S <= now.boot_s:
                given_up.append(batch)
            else:
                self.due.add(batch, when_s)
        return given_up
