"""The offset of a parcels partition: how far the group may have read.

What must stay true: no untaken place of an account that is not behind lies below :meth:`PartitionOffset.committable`,
so whatever is not yet in the journal is read again after a crash. An account without intents holds nothing up, and
neither does one that is passed over: its own cursor says where it has to be read from.
"""

from collections import deque
from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

A = TypeVar("A")


class Parcel(NamedTuple, Generic[A]):
    """A parcel that was handed to the lane of ``account`` at ``since_s`` (``boot_s``)."""

    offset: int
    since_s: float
    account: A


class PartitionOffset(Generic[A]):
    """Counts the untaken intents of each parcel of one partition, over all accounts that are not passed over."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._untaken: dict[int, int] = {}
        self._order: deque[Parcel[A]] = deque()

    def handed(self, offset: int, untaken: int, account: A, now_s: float) -> None:
        """A parcel was handed to its lane, which found ``untaken`` intents in it. Offsets only grow.

        Everything before it has been handed over or passed over, so from here on the offset cannot lie before it, also
        where it is asked for in the middle of a chunk.
        """
        self.position = max(self.position, offset)
        if untaken:
            self._untaken[offset] = untaken
            self._order.append(Parcel(offset, now_s, account))

    def read_to(self, position: int) -> None:
        """All messages below ``position`` have been handed to their lanes, or passed over."""
        self.position = position

    def taken(self, offset: int, count: int = 1) -> None:
        """Intents of a parcel were taken."""
        left = self._untaken[offset] - count
        assert left >= 0, "an intent is taken once"
        if left:
            self._untaken[offset] = left
        else:
            del self._untaken[offset]

    def pass_over(self, offsets: Iterable[int]) -> None:
        """The parcels of an account no longer hold the offset: its cursor, marked as behind, is about to be written."""
        for offset in offsets:
            del self._untaken[offset]

    def hold_again(self, account: A, untaken: Iterable[tuple[int, int]], now_s: float) -> None:
        """An account is passed over no longer: its parcels (offset, untaken intents) count again."""
        order = {parcel.offset: parcel for parcel in self._order if parcel.offset in self._untaken}
        for offset, count in untaken:
            self._untaken[offset] = count
            order[offset] = Parcel(offset, now_s, account)
        self._order = deque(sorted(order.values(), key=lambda parcel: parcel.offset))

    def oldest(self) -> Parcel[A] | None:
        """The parcel that holds the offset."""
        order, untaken = self._order, self._untaken
        while order and order[0].offset not in untaken:
            order.popleft()
        return order[0] if order else None

    def committable(self) -> int:
        """The offset of the first parcel with an untaken intent, else the position behind all that was read."""
        oldest = self.oldest()
        return self.position if oldest is None else oldest.offset
