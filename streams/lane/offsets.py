"""The offset of a parcels partition: how far the group may have read.

What must stay true: no untaken place lies below :meth:`PartitionOffset.committable`, so whatever is not yet in the
journal is read again after a crash. An account without intents holds nothing up.
"""

from collections import deque


class PartitionOffset:
    """Counts the untaken intents of each parcel of one partition, over all accounts."""

    def __init__(self, position: int) -> None:
        self._position = position
        self._untaken: dict[int, int] = {}
        self._order: deque[int] = deque()

    def handed(self, offset: int, untaken: int) -> None:
        """A parcel was handed to its lane, which found ``untaken`` intents in it. Offsets only grow."""
        if untaken:
            self._untaken[offset] = untaken
            self._order.append(offset)

    def read_to(self, position: int) -> None:
        """All messages below ``position`` have been handed to their lanes."""
        self._position = position

    def taken(self, offset: int, count: int = 1) -> None:
        """Intents of a parcel were taken."""
        left = self._untaken[offset] - count
        assert left >= 0, "an intent is taken once"
        if left:
            self._untaken[offset] = left
        else:
            del self._untaken[offset]

    def committable(self) -> int:
        """The offset of the first parcel with an untaken intent, else the position behind all that was read."""
        while self._order and self._order[0] not in self._untaken:
            self._order.popleft()
        return self._order[0] if self._order else self._position
