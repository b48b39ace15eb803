"""Which labels an account has, as the API lists them, and what becomes of intents that name another.

The API refuses a whole batch for one label that is not the account's. So the list is read, page by page, before the
first batch and every :data:`REFRESH_S` while there is work, and intents are held against it when a batch is closed.
What must stay true:

- an intent is refused only by a complete list that was begun at most :data:`FRESH_S` before it arrived, or after: a
  label may be new. So an unknown label has the list read again, once a minute at most, and fresh batches wait for that;
- a list that cannot be read, or has nothing in it, refuses nobody and holds up nothing: the intents go out unchecked.

A page may hold fewer labels than were asked for, so the list ends with a page that brings no label that is new.
"""

import random
from collections.abc import Collection, Iterable
from typing import Literal

from streams.contracts.journal import Held
from streams.contracts.outcome import Reason
from streams.lane.backoff import Backoff

LabelMode = Literal["off", "warn", "reject"]

UNKNOWN_LABEL = Reason("unknown_label", "label_id is none of the account's dynamic labels, so the API would refuse it.")

REFRESH_S = 900.0
FRESH_S = 60.0

# Labels that an account has are a handful; a list without end is none.
PAGES_MAX = 50

# Labels of which it was said that they are unknown; beyond, some are told of again.
_TOLD_MAX = 1000


class Labels:
    """The labels of one account. ``mode`` is the setting; with ``off`` nothing is ever read.

    ``failing`` is why the list could not be read the last time, ``None`` if it could. ``news`` are unknown labels that
    nobody was told of yet; whoever tells empties it.
    """

    def __init__(self, mode: LabelMode) -> None:
        self.mode = mode
        self.known: frozenset[str] | None = None
        self.failing: str | None = None
        self.news: list[str] = []
        self.running = False
        self._told: set[str] = set()
        self._doubtful = False
        self._page = 1
        self._found: set[str] = set()
        self._begun_s = self._read_s = float("-inf")
        self._due_s = self._not_before_s = float("-inf")
        self._backoff = Backoff(base_s=5.0, cap_s=300.0, floor_s=1.0)

    # -- when to read

    @property
    def due_at(self) -> float:
        """When the next page should be asked for (``boot_s``), provided there is work; infinity if nothing is asked."""
        return float("inf") if self.mode == "off" or self.running else max(self._due_s, self._not_before_s)

    @property
    def awaited(self) -> bool:
        """Whether fresh batches wait for the list."""
        return self.mode == "reject" and self.failing is None and (self.known is None or self._doubtful)

    def met(self, label_ids: Iterable[str], now_s: float) -> None:
        """Intents with these labels have arrived."""
        if self.known is None or self.known.issuperset(label_ids):
            return
        if now_s - self._read_s > FRESH_S:
            self._doubtful = True
            self._due_s = min(self._due_s, now_s)

    # -- reading

    def start(self, now_s: float) -> int:
        """A page is about to be asked for: returns its number, from 1."""
        self.running = True
        if self._page == 1:
            self._begun_s = now_s
        return self._page

    def not_made(self) -> None:
        """The page was not asked for after all."""
        self.running = False

    def listed(self, label_ids: Collection[str], now_s: float, rng: random.Random) -> None:
        """The page came, with these labels."""
        self.running = False
        fresh = set(label_ids) - self._found
        self._found |= fresh
        if fresh and self._page < PAGES_MAX:
            self._page += 1
            self._due_s = now_s
        elif fresh or not self._found:
            self.failed("too_many_labels" if fresh else "no_labels", now_s, rng)
        else:
            self.known = frozenset(self._found)
            self.failing, self._doubtful = None, False
            self._backoff.succeed()
            self._read_s = self._begun_s
            self._due_s = now_s + REFRESH_S
            self._begin_anew()

    def failed(self, cause: str, now_s: float, rng: random.Random, at_least_s: float | None = None) -> None:
        """The list cannot be read: it is tried again later, and nobody is refused until then."""
        self.running = False
        self.failing, self._doubtful = cause, False
        self._due_s = self._not_before_s = now_s + self._backoff.fail(rng, at_least_s)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._page = 1
        self._found = set()

    # -- who is refused

    def sort(self, held: list[Held]) -> tuple[list[Held], list[Held]]:
        """Tell those that may be sent from those that are refused."""
        known = self.known
        if known is None or known.issuperset([one.row.label_id for one in held]):
            return held, []
        strange = [one for one in held if one.row.label_id not in known]
        self._tell({one.row.label_id for one in strange})
        if self.mode == "warn" or self.failing is not None:
            return held, []
        return [one for one in held if one.row.label_id in known], strange

    def _tell(self, label_ids: set[str]) -> None:
        fresh = label_ids - self._told
        if len(self._told) + len(fresh) > _TOLD_MAX:
            self._told.clear()
        self._told |= fresh
        self.news.extend(sorted(fresh)[:_TOLD_MAX])
