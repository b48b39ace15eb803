"""Tokens and how often they may be used: the documented limits, exactly.

At most 10 tokens per account in any 30 minutes, each valid for 60 minutes, each good for 60 requests in any sliding
minute, reading and writing alike. A new token leaves the older ones valid: the vendor's own arithmetic needs ten at
once. A request that is refused for the limit takes no slot.
"""

import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import Final

TOKEN_LIFE_S: Final = 3600.0
MINTS_MAX: Final = 10
MINTS_PERIOD_S: Final = 1800.0
REQUESTS_MAX: Final = 60
REQUESTS_PERIOD_S: Final = 60.0


@dataclass(slots=True)
class Token:
    """An access token. ``ordinal`` names it in the ledger, counted from 1 in the order of minting."""

    text: str = field(repr=False)
    account_id: str
    ordinal: int
    minted_s: float
    requests_s: deque[float] = field(default_factory=deque, repr=False)


class TokenBook:
    """All tokens of a fake. With ``strict`` off nothing is limited but the life of a token."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._tokens: dict[str, Token] = {}
        self._mints_s: dict[str, deque[float]] = {}
        self._ordinal = 0

    def mint(self, account_id: str, now_s: float) -> Token | None:
        """Make a token, or return ``None`` where the account has had its ten."""
        mints_s = self._mints_s.setdefault(account_id, deque())
        if not _take(mints_s, now_s, MINTS_PERIOD_S, MINTS_MAX) and self._strict:
            return None
        self._forget_expired(now_s)
        self._ordinal += 1
        token = Token(secrets.token_hex(32), account_id, self._ordinal, now_s)
        self._tokens[token.text] = token
        return token

    def find(self, text: str, now_s: float) -> Token | None:
        """Return the token, or ``None`` where it is unknown or has expired."""
        token = self._tokens.get(text)
        return token if token and now_s - token.minted_s < TOKEN_LIFE_S else None

    def take(self, token: Token, now_s: float) -> bool:
        """Use one of the token's requests; ``False`` where the minute has none left."""
        return not self._strict or _take(token.requests_s, now_s, REQUESTS_PERIOD_S, REQUESTS_MAX)

    def _forget_expired(self, now_s: float) -> None:
        while self._tokens:
            oldest = next(iter(self._tokens.values()))
            if now_s - oldest.minted_s < TOKEN_LIFE_S:
                return
            del self._tokens[oldest.text]


def _take(times_s: deque[float], now_s: float, period_s: float, most: int) -> bool:
    while times_s and times_s[0] <= now_s - period_s:
        times_s.popleft()
    if len(times_s) >= most:
        return False
    times_s.append(now_s)
    return True
