"""When the next request of a token may leave.

One rule, exact whatever the latency: a slot is taken when a request is sent and freed one window after it *ended*. The
server saw the request somewhere between the two, so no window of the server's clock can hold more than the limit. A
minimum spacing keeps a full budget from leaving in one burst; it is below the even spacing, so that it costs nothing
at full load.

The limit is what the operator says; what the server takes is learned from its 429s (additive increase, multiplicative
decrease, as TCP does it): each one that did not come in the pause after another cuts the rate to 0.7 of what it was,
and every minute without one gives back a twentieth of the limit. So a server that allows less than it was said to is
asked for about 85 % of what it takes, and one that was wrongly strict once has its whole rate back within six minutes.
"""

from bisect import bisect_right, insort
from collections import deque

WINDOW_S = 60.0

# 1.0 would make every delay a lost slot for good; at 0.8 a late request is caught up within five.
SPACING_SHARE = 0.8

# What is left of the rate after a 429, what of the limit comes back each minute, and what is never taken away: however
# long a server has thrown everything back, it is asked often enough to notice that it does so no more.
DECREASE = 0.7
INCREASE_SHARE = 0.05
LEAST_SHARE = 0.1


class Pace:
    """The slots of one token, or of all tokens of an account together.

    ``limit`` is the number of requests per :data:`WINDOW_S`. All times are ``boot_s``. What must stay true:
    ``used`` never exceeds ``limit``.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._ended: deque[float] = deque()
        self._running = 0
        self._next_s = float("-inf")
        self._learned = float(limit)
        self._learned_at_s = 0.0
        self.held_until_s = float("-inf")

    def used(self, now_s: float) -> int:
        """Slots that are taken: requests running, or ended less than a window ago."""
        ended = self._ended
        while ended and ended[0] + WINDOW_S <= now_s:
            ended.popleft()
        return self._running + len(ended)

    @property
    def running(self) -> int:
        """Requests that have been given a slot and have not ended."""
        return self._running

    def learned(self, now_s: float) -> int:
        """Requests per window that the server is believed to take: the limit, or less for a while after a 429."""
        if self._learned >= self.limit:
            return self.limit
        minutes = (now_s - self._learned_at_s) / WINDOW_S
        return min(self.limit, max(1, int(self._learned + minutes * INCREASE_SHARE * self.limit)))

    def free(self, now_s: float) -> int:
        """Slots that are not taken, whether or not the spacing lets one leave now."""
        return max(0, self.learned(now_s) - self.used(now_s))

    def free_by(self, when_s: float, now_s: float) -> int:
        """Slots that will be free at ``when_s`` if nothing more is taken and nothing that runs has ended by then."""
        return self.free(now_s) + bisect_right(self._ended, when_s - WINDOW_S)

    def free_at(self, count: int, now_s: float) -> float:
        """When ``count`` slots will be free if nothing more is taken; infinity while running requests hold them."""
        missing = count - self.learned(now_s) + self.used(now_s)
        if missing <= 0:
            return now_s
        return self._ended[missing - 1] + WINDOW_S if missing <= len(self._ended) else float("inf")

    def ready_at(self, now_s: float) -> float:
        """When the next request may leave: not after ``now_s`` if at once, infinity while running requests hold all."""
        earliest = max(self._next_s, self.held_until_s)
        return earliest if self.free(now_s) > 0 else max(earliest, self.free_at(1, now_s))

    def take(self, now_s: float) -> None:
        """Take a slot for a request that is about to leave."""
        assert self.free(now_s) > 0, "a slot is asked for before it is taken"
        self._running += 1
        self._next_s = now_s + SPACING_SHARE * WINDOW_S / self.learned(now_s)

    def ended(self, now_s: float) -> None:
        """A request has ended, however: its slot is freed a window from now."""
        self._running -= 1
        # A previous owner's requests may have ended a little later than now, by the doubt about its clock.
        insort(self._ended, now_s)

    def unsent(self) -> None:
        """A request for which a slot was taken never left: the slot is free again."""
        self._running -= 1

    def hold(self, until_s: float) -> None:
        """The server asked for a pause: nothing leaves before ``until_s``."""
        self.held_until_s = max(self.held_until_s, until_s)

    def throttled(self, now_s: float) -> None:
        """The server took less than it was given (429): go on slower. Told before :meth:`hold`.

        Of several that were in flight together the first tells, the others only prolong the pause.
        """
        if now_s < self.held_until_s:
            return
        self._learned = max(LEAST_SHARE * self.limit, DECREASE * self.learned(now_s))
        self._learned_at_s = now_s

    def taught(self) -> tuple[float, float]:
        """What 429s have taught, for a successor: the rate, and as of when."""
        return self._learned, self._learned_at_s

    def teach(self, learned: float, learned_at_s: float, held_until_s: float) -> None:
        """Take over what they have taught a previous owner."""
        self._learned = min(float(self.limit), max(LEAST_SHARE * self.limit, learned))
        self._learned_at_s = learned_at_s
        self.hold(held_until_s)

    def slowed(self, now_s: float) -> bool:
        """Whether the server has lately taken less than it was given (429), or asked for a pause."""
        return self.learned(now_s) < self.limit or self.held_until_s > now_s

    def restore(self, ended_s: list[float]) -> None:
        """Take over the requests of a previous owner, by the times at which they ended."""
        self._ended = deque(sorted((*self._ended, *ended_s)))

    def recent(self) -> tuple[float, ...]:
        """The times at which requests ended whose slots are still taken: what a successor needs."""
        return tuple(self._ended)
