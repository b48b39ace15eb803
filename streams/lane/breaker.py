"""When an account stops submitting, and how it finds out that it may go on.

Closed, all goes as it should. Open, nothing is submitted until a time; then the breaker is half open, and probes leave
one at a time: a status check, which can do no harm, and batches of one intent. One that is accepted closes it. What
must stay true: an open breaker settles nothing by itself, neither as rejected nor otherwise; calls that end meanwhile
end with an outcome as they would without it. It is a memory of this process: a new owner begins closed and learns anew,
which costs no more requests than it took the first time.
"""

import random
from dataclasses import dataclass, field
from enum import StrEnum

from streams.lane.backoff import Backoff

# So many POSTs in a row without a usable answer, or with an acceptance that names no batch, open the breaker.
FAILED_MAX = 3
UNTRACKED_MAX = 3

# After so many POSTs in a row were refused for their content (a batch and both its halves, or several batches), single
# intents are tried; when so many of those were refused in a row, everything is refused.
REFUSED_MAX = 3
REFUSED_PROBES = 3

# So many intents may be rejected in a row while nothing is accepted: what is less cannot be told from a few bad intents
# of a quiet account, what is more would be a topic that is drained into the dead letters.
REJECTED_MAX = 10

LONG_PAUSE_S = 30.0

NEVER = float("-inf")


class Cause(StrEnum):
    """Why a breaker is not closed.

    ``failing``: no usable answers. ``untracked``: acceptances without a name. ``forbidden``: the account may not.
    ``refused``: whatever is sent is refused for its content, as after a change of the API.
    """

    FAILING = "failing"
    UNTRACKED = "untracked"
    FORBIDDEN = "forbidden"
    REFUSED = "refused"


class BreakerState(StrEnum):
    """What a breaker lets through: everything, nothing, or probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


def long_pause() -> Backoff:
    """For what no retry mends: somebody has to act, asking once in a while is enough."""
    return Backoff(base_s=LONG_PAUSE_S, cap_s=300.0, floor_s=15.0)


@dataclass(slots=True)
class Breaker:
    """The breaker of one account. Times are ``boot_s``.

    ``cause`` is ``None`` while it is closed; ``until_s`` is when the next probe may leave. ``openings`` counts how
    often it has opened since it was last closed: 0 while ``refused`` is only suspected. ``heard`` says that a status
    check was answered since. ``failed``, ``untracked`` and ``refused`` are answers to POSTs in a row; ``rejected`` are
    the intents rejected since the last acceptance.
    """

    cause: Cause | None = None
    until_s: float = NEVER
    openings: int = 0
    heard: bool = False
    failed: int = 0
    untracked: int = 0
    refused: int = 0
    rejected: int = 0
    _probes: int = 0
    _pause: Backoff = field(default_factory=long_pause)

    def state(self, now_s: float) -> BreakerState:
        """What it lets through now."""
        if self.cause is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now_s < self.until_s else BreakerState.HALF_OPEN

    @property
    def lets_checks(self) -> bool:
        """Whether status checks go on as usual: they do where submitting alone is in trouble."""
        return self.heard or self.cause in {None, Cause.UNTRACKED, Cause.REFUSED}

    # -- answers to POSTs

    def accepted(self) -> None:
        """The API has taken a batch and named it: all is well."""
        self.failed = self.untracked = self.refused = self.rejected = 0
        self._close()

    def taken_unnamed(self, now_s: float, rng: random.Random) -> None:
        """The API has taken a batch without naming it: none of those can be followed."""
        self.failed = self.refused = self.rejected = 0
        self.untracked += 1
        if self.untracked >= UNTRACKED_MAX:
            self._open(Cause.UNTRACKED, now_s + self._pause.fail(rng))
        elif self.cause is not Cause.UNTRACKED:
            self._close()

    def unanswered(self, until_s: float) -> None:
        """A POST failed or brought no usable answer; the account pauses until then anyway."""
        self.failed += 1
        if self.cause is not None:
            self._open(self.cause, until_s)
        elif self.failed >= FAILED_MAX:
            self._open(Cause.FAILING, until_s)

    def forbidden(self, until_s: float) -> None:
        """The account may not do this: somebody has to act."""
        self._open(Cause.FORBIDDEN, until_s)

    def refusal(self, now_s: float, rng: random.Random, *, alone: bool, suspects: int) -> bool:
        """A batch was refused for its content; whether all that is sent may be refused.

        ``alone``: it held one intent. ``suspects`` are the intents of refused batches of which nothing was accepted
        since, these included; 0 where others of the same batch were accepted, which tells that these are bad. While the
        answer is true, nothing should be rejected.
        """
        self.failed = 0
        self.refused += suspects > 0
        if self.cause in {Cause.FAILING, Cause.FORBIDDEN}:
            self._close()
        many = self.refused >= REFUSED_MAX and suspects + self.rejected > REJECTED_MAX
        everything = suspects > 0 and (many or self.cause is Cause.REFUSED)
        if self.cause is not None:
            self._probed(now_s, rng, alone=alone)
        elif everything:
            self.cause, self.until_s = Cause.REFUSED, now_s
        if alone and suspects and not everything:
            self.rejected += 1
        return everything

    def _probed(self, now_s: float, rng: random.Random, *, alone: bool) -> None:
        if not alone or now_s < self.until_s:
            return  # not a probe: it was on its way before
        self._probes += 1
        if self._probes >= REFUSED_PROBES or self.cause is not Cause.REFUSED:
            self._open(self.cause or Cause.REFUSED, now_s + self._pause.fail(rng))

    # -- the rest

    def check_answered(self) -> None:
        """A status check brought an answer: the API is there."""
        self.heard = self.cause is not None

    def check_unanswered(self, until_s: float) -> None:
        """A status check failed; where it was a probe, the account pauses until then."""
        if not self.lets_checks and self.cause is not None:
            self._open(self.cause, until_s)

    def resume(self) -> None:
        """An operator says that it should be tried again now."""
        self.until_s = NEVER

    def _open(self, cause: Cause, until_s: float) -> None:
        self.cause = cause
        self.until_s = max(self.until_s, until_s)
        self.openings += 1
        self.heard = False

    def _close(self) -> None:
        self.cause, self.until_s, self.openings, self.heard, self._probes = None, NEVER, 0, False, 0
        self._pause.succeed()
