"""The API on virtual time: it judges each request when it arrives, and is exact.

Decided here: it counts every request, also those that it throws back, holds each token to its limit in any 60 seconds
and mints to theirs in any 30 minutes, forgets a token after 60 minutes, and answers 429 or 401 to what is beyond.
"""

from collections import Counter, deque
from collections.abc import Sequence

from streams.contracts.parcel import Row
from streams.lane.actions import Check, Post
from streams.lane.verdict import (
    Accepted,
    CheckVerdict,
    Minted,
    PostVerdict,
    Reauthenticate,
    RecordState,
    RecordStatus,
    RetryLater,
    Statuses,
    TokenVerdict,
)

TOKENS, REQUESTS, MINTS, RECORDS = 10, 60, 10, 500
TOKEN_LIFE_S = 3600.0

NEVER_S = (float("inf"), float("inf"))

# Refused, as long as the API is down: nothing was sent.
DOWN = RetryLater("unreachable")
THROTTLED = RetryLater("http_429", throttled=True, left=True)
FORGOTTEN = Reauthenticate("http_401")


class Window:
    """The requests of one limit, as the server counts them; remembers the most that were in a window."""

    def __init__(self, length_s: float, limit: int) -> None:
        self.most = 0
        self._length_s = length_s
        self._limit = limit
        self._times: deque[float] = deque()

    def count(self, now_s: float) -> bool:
        """Count one more, whether or not it is within the limit; returns whether it is."""
        while self._times and self._times[0] <= now_s - self._length_s:
            self._times.popleft()
        self._times.append(now_s)
        self.most = max(self.most, len(self._times))
        return len(self._times) <= self._limit


class Api:
    """``down``: from and until when it refuses connections, in seconds. ``refused`` counts by HTTP status."""

    def __init__(self, down: tuple[float, float] = NEVER_S) -> None:
        self.accepted_s: list[float] = []
        self.checked_s: list[float] = []
        self.minted_s: dict[str, float] = {}
        self.refused: Counter[str] = Counter()
        self.tried_while_down = 0
        self.mints = Window(1800.0, MINTS)
        self.account = Window(60.0, TOKENS * REQUESTS)
        self.tokens: dict[str, Window] = {}
        self._down = down

    @property
    def granted(self) -> int:
        """Requests that were answered as asked, without mints."""
        return len(self.accepted_s) + len(self.checked_s)

    def grant(self, now_s: float) -> str:
        """A new token, whatever the limit."""
        token = f"token-{len(self.tokens)}"
        self.minted_s[token] = now_s
        self.tokens[token] = Window(60.0, REQUESTS)
        return token

    def mint(self, now_s: float) -> TokenVerdict:
        """Asked for a token."""
        if self._is_down(now_s):
            return DOWN
        if not self.mints.count(now_s):
            self.refused["429"] += 1
            return THROTTLED
        return Minted(self.grant(now_s))

    def post(self, action: Post, now_s: float) -> PostVerdict:
        """Handed a batch."""
        refused = self._judge(action.token.secret, now_s)
        if refused is None:
            self.accepted_s.append(now_s)
        return refused or Accepted(f"batch-{len(self.accepted_s)}")

    def check(self, action: Check, rows: Sequence[Row], now_s: float) -> CheckVerdict:
        """Asked for the statuses of a batch, of which it knows ``rows``."""
        refused = self._judge(action.token.secret, now_s)
        if refused is None:
            self.checked_s.append(now_s)
        return refused or Statuses(tuple(map(delivered, rows)))

    def _judge(self, token: str, now_s: float) -> RetryLater | Reauthenticate | None:
        """Count a request; ``None`` if it is granted."""
        if self._is_down(now_s):
            self.tried_while_down += 1
            return DOWN
        allowed = self.account.count(now_s) & self.tokens[token].count(now_s)
        if now_s >= self.minted_s[token] + TOKEN_LIFE_S:
            self.refused["401"] += 1
            return FORGOTTEN
        if not allowed:
            self.refused["429"] += 1
            return THROTTLED
        return None

    def _is_down(self, now_s: float) -> bool:
        return self._down[0] <= now_s < self._down[1]


def delivered(row: Row) -> RecordStatus:
    """The final status of a record."""
    times = (row.starts_at, row.ends_at)
    return RecordStatus(
        row.intent_id,
        row.caller,
        row.receiver,
        row.label_id,
        None,
        None,
        *times,
        RecordState.DELIVERED,
        "success",
        None,
    )
