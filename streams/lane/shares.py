"""Who gets how much while there is too little for all: of every batch, high : normal : low = 80 : 15 : 5.

Start-time fair queueing (Goyal, Vin and Cheng 1996) with one queue for each class. A record of a class costs virtual
time in inverse proportion to its weight, and the class that stands earliest is served next. What a class does not use
is passed on to the others by their weights, and is not saved up: one that comes back stands where the virtual time is
now. What must stay true:

- Exact over any number of batches of any size: while two classes both have intents waiting, what each was given over
  its weight differs by at most one record of each.
- Nobody starves: between two records of a class that has more waiting, the others are given at most 21 together if it
  is the lowest (16 + 3 for its weight, and one more each), fewer otherwise.
"""

from collections.abc import Sequence
from typing import Final

from streams.contracts.parcel import Priority

# In the order of their weights; an index into this is a class.
CLASSES: Final[tuple[Priority, ...]] = ("high", "normal", "low")

# 80 : 15 : 5 in lowest terms, and the virtual time that a record costs: their least common multiple over the weight.
WEIGHTS: Final = (16, 3, 1)
_ROUND: Final = 48
_COSTS: Final = tuple(_ROUND // weight for weight in WEIGHTS)


class Shares:
    """Where each class stands, in virtual time."""

    def __init__(self) -> None:
        self._stands = [0] * len(WEIGHTS)
        self._now = 0

    def allot(self, count: int, waiting: Sequence[int]) -> list[int]:
        """Divide the next ``count`` records among classes with so many intents waiting; zero takes no part."""
        left = list(waiting)
        stands = self._stands
        while True:
            active = [index for index, intents in enumerate(left) if intents]
            if not active or not count:
                return [all_ - rest for all_, rest in zip(waiting, left, strict=True)]
            for index in active:
                stands[index] = max(stands[index], self._now)
            weight = sum(WEIGHTS[index] for index in active)
            if rounds := min(count // weight, *(left[index] // WEIGHTS[index] for index in active)):
                # Whole rounds change nothing about who stands where.
                for index in active:
                    stands[index] += rounds * _ROUND
                    left[index] -= rounds * WEIGHTS[index]
                self._now += rounds * _ROUND
                count -= rounds * weight
            else:
                first = min(active, key=stands.__getitem__)
                self._now = stands[first]
                stands[first] += _COSTS[first]
                left[first] -= 1
                count -= 1

    def give_back(self, index: int, count: int) -> None:
        """A class had fewer waiting than was said."""
        self._stands[index] -= count * _COSTS[index]
