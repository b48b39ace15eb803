"""How many requests may be spent on sending again what was sent before.

An API that fails gets more of what it cannot bear if every failure brings another request. So the POSTs that repeat
one which was answered badly or not at all are at most a tenth of the fresh POSTs in any minute, plus a few so that a
quiet account can repeat its only batch (a retry budget, as Finagle and gRPC have it). A repetition that is accepted
counts as fresh from then on, so that what an outage has left behind goes at the full rate once it is over. A batch that
never left is fresh, and so is one whose token was refused: another token is a cure, and how often one is minted has
bounds of its own. Status checks are no repetitions, they have their own backoff.
"""

from bisect import bisect_right, insort

WINDOW_S = 60.0

# What a client may add to an outage (Google SRE, "Handling overload": 10 % per client).
SHARE = 0.1

# A tenth of what one token may send in a minute.
FLOOR = 6

# Who may not repeat asks again this much later at the soonest.
ASK_AGAIN_S = 1.0


class RetryBudget:
    """The POSTs of the last minute, by ``boot_s``.

    What must stay true: when a repetition leaves, those of the minute before are fewer than :data:`SHARE` of the fresh
    ones plus :data:`FLOOR`.
    """

    def __init__(self) -> None:
        self._fresh: list[float] = []
        self._repeated: list[float] = []

    def sent(self, now_s: float, *, again: bool) -> None:
        """A POST is about to leave."""
        times = self._repeated if again else self._fresh
        del times[: bisect_right(times, now_s - WINDOW_S)]
        times.append(now_s)

    def accepted(self, now_s: float) -> None:
        """A repetition was accepted: it was the last of its batch, and counts as fresh from now on."""
        first = len(self._repeated) - _since(self._repeated, now_s)
        if first < len(self._repeated):
            insort(self._fresh, self._repeated.pop(first))

    def unsent(self, *, again: bool) -> None:
        """The last one of this kind did not leave."""
        times = self._repeated if again else self._fresh
        if times:
            times.pop()

    def allows(self, now_s: float) -> bool:
        """Whether one may be repeated now."""
        return _since(self._repeated, now_s) < FLOOR + SHARE * _since(self._fresh, now_s)

    def ask_again_at(self, now_s: float) -> float:
        """When to ask next where none may be repeated now: when the oldest repetition no longer counts."""
        gone = len(self._repeated) - _since(self._repeated, now_s)
        return max(now_s + ASK_AGAIN_S, self._repeated[gone] + WINDOW_S)


def _since(times: list[float], now_s: float) -> int:
    return len(times) - bisect_right(times, now_s - WINDOW_S)
