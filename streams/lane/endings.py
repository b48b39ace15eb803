"""Which of the waiting intents are over next, without looking at all of them each time.

A window may be long and have something end in it every moment. So only those that end soon are kept in order; the
others are looked through when the first of them might have ended, which is at most once in :data:`NEAR_MS`. Intents
that leave are not taken out of here: they are recognised when their time comes.
"""

import heapq
from collections.abc import Callable, Iterable

from streams.contracts.journal import Held

# One look at all in so long: 100,000 intents take a few tens of milliseconds.
NEAR_MS = 30_000


class Endings:
    """When waiting intents end (epoch milliseconds). None of them ends before :attr:`first_ms`.

    Those that end below ``noticed_below_ms`` have to be told by :meth:`notice`; others change nothing.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Nothing waits any more."""
        self._near: list[tuple[int, Held]] = []
        self._near_until_ms = float("-inf")
        self._far_first_ms = float("inf")
        self.noticed_below_ms = float("inf")

    @property
    def first_ms(self) -> float:
        """No waiting intent ends before; infinity where none waits."""
        return min(self._near[0][0], self._far_first_ms) if self._near else self._far_first_ms

    def notice(self, held: Held) -> None:
        """An intent waits that ends below ``noticed_below_ms``."""
        ends_ms = held.row.ends_at
        if ends_ms < self._near_until_ms:
            heapq.heappush(self._near, (ends_ms, held))
        else:
            self._far_first_ms = ends_ms
            self.noticed_below_ms = max(self._near_until_ms, ends_ms)

    def over(
        self, ends_by_ms: int, count_max: int, waits: Callable[[Held], bool], waiting: Callable[[], Iterable[Held]]
    ) -> list[Held]:
        """Up to ``count_max`` of those that end by then, first ones first; each is told once.

        ``waits`` says whether an intent still waits, ``waiting`` gives all that do.
        """
        if self._far_first_ms <= ends_by_ms:
            self._look(ends_by_ms + NEAR_MS, waiting())
        near = self._near
        over: list[Held] = []
        while near and near[0][0] <= ends_by_ms and len(over) < count_max:
            held = heapq.heappop(near)[1]
            if waits(held):
                over.append(held)
        return over

    def _look(self, near_until_ms: int, waiting: Iterable[Held]) -> None:
        near: list[tuple[int, Held]] = []
        far_first_ms = float("inf")
        for held in waiting:
            ends_ms = held.row.ends_at
            if ends_ms < near_until_ms:
                near.append((ends_ms, held))
            elif ends_ms < far_first_ms:
                far_first_ms = ends_ms
        heapq.heapify(near)
        self._near, self._near_until_ms, self._far_first_ms = near, near_until_ms, far_first_ms
        self.noticed_below_ms = max(near_until_ms, far_first_ms)
