"""The parts of batches that the API refused as a whole, until they are accepted, rejected or over.

They take turns with fresh batches, so that neither starves the other. What one refused batch may cost is bounded: its
parts have so many requests at once, and beyond them one every three seconds, until their calls end.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from streams.lane.batch import Batch
from streams.lane.due import Due

# Enough to find seven bad records that are scattered over 500: 2 requests for each at each of log2(500 / 7) + 1 sizes.
REQUESTS_MAX = 100

# Beyond that, a refused batch is taken apart at this pace: a third of what one token may, so that its good records get
# through while their calls last (25 bad ones of 500 take eight minutes), and others have the rest.
SLOW_S = 3.0

# A record that an answer names is tried with the one before it, since nobody says whether the first is 0 or 1.
NAMED_MAX = 2


@dataclass(slots=True)
class Group:
    """All parts of one refused batch: the requests they have had, and when the next may leave once those are many.

    ``accepted``: one of them was. ``named`` are the parts of which an answer said that the bad record is in them. One
    that is accepted tells that answers do not name what we think they do: ``hints`` are not followed any more.
    """

    requests: int = 0
    slow_s: float = float("-inf")
    accepted: bool = False
    hints: bool = True
    named: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Parts:
    """The parts that wait for a request. ``yields``: a fresh batch goes first, if there is one."""

    due: Due = field(default_factory=Due)
    yields: bool = False
    _groups: dict[str, Group] = field(default_factory=dict)

    def add(self, batch: Batch, when_s: float) -> None:
        """A part may be sent, not before ``when_s``; later where its batch has had its requests."""
        group = self.group(batch)
        group.requests += 1
        if group.requests > REQUESTS_MAX:
            when_s = group.slow_s = max(when_s, group.slow_s + SLOW_S)
        self.due.add(batch, when_s)

    def group(self, batch: Batch) -> Group:
        """What is known of the batch that this one is a part of."""
        assert batch.entry.part_of is not None, "only parts wait here"
        group = self._groups.setdefault(batch.entry.part_of, Group())
        group.requests = max(group.requests, batch.entry.part_requests)
        group.accepted |= batch.entry.part_accepted
        return group

    def took(self, batch: Batch) -> None:
        """The API has taken a batch. If it was said to hold the bad record, what is said means nothing."""
        if batch.entry.part_of is not None:
            group = self.group(batch)
            group.accepted = True
            group.hints &= batch.ref not in group.named

    def waiting_count(self, live: Iterable[Batch]) -> int:
        """The intents of refused batches that are neither accepted nor settled."""
        return sum(batch.unsettled_count for batch in live if batch.entry.part_of is not None)

    def suspects(self, live: Iterable[Batch]) -> int:
        """The intents of refused batches of which nothing was accepted since."""
        return sum(
            batch.unsettled_count
            for batch in live
            if batch.entry.part_of is not None and not self.group(batch).accepted
        )

    def counted(self, batch: Batch) -> None:
        """A batch is about to be sent: whose turn is next, and what its entry says of its refused batch."""
        self.yields = batch.entry.part_of is not None
        if self.yields:
            group = self.group(batch)
            batch.entry = replace(batch.entry, part_requests=group.requests, part_accepted=group.accepted)

    def forget_others(self, live: Iterable[Batch]) -> None:
        """Keep only what is known of the batches that these are parts of."""
        roots = {batch.entry.part_of for batch in live}
        self._groups = {root: group for root, group in self._groups.items() if root in roots}
