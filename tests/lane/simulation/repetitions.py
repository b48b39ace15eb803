"""How many of the POSTs of a worker repeat one that was answered badly."""

from collections import defaultdict
from dataclasses import dataclass, field

from streams.lane.retry_budget import FLOOR, SHARE, WINDOW_S

BAD = frozenset({"throttled", "refuse", "ambiguous"})


@dataclass(slots=True)
class Sent:
    """One POST: when, of which batch, and whether it repeats one."""

    at_s: float
    ref: str
    again: bool


@dataclass(slots=True)
class Repetitions:
    """By worker and account, as the audit sees them leave.

    They leave some time after they were decided on, so that the decisions of two minutes may meet in one.
    """

    _sent: defaultdict[tuple[str, str], list[Sent]] = field(default_factory=lambda: defaultdict(list))
    _bad: set[tuple[str, str]] = field(default_factory=set)

    def posted(self, worker: str, account_id: str, ref: str, now_s: float) -> bool:
        """A POST leaves; whether repetitions are within their budget."""
        sent = [one for one in self._sent[worker, account_id] if one.at_s > now_s - WINDOW_S]
        again = (worker, ref) in self._bad
        self._sent[worker, account_id] = [*sent, Sent(now_s, ref, again)]
        repeated = sum(one.again for one in sent)
        return not again or repeated < 2 * FLOOR + SHARE * (len(sent) - repeated)

    def told(self, worker: str, account_id: str, ref: str, answer: str) -> None:
        """What has become of it."""
        if answer in BAD:
            self._bad.add((worker, ref))
        elif answer == "accepted":
            for one in self._sent[worker, account_id]:
                if one.ref == ref:
                    one.again = False
