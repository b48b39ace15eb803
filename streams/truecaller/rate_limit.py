"""What an answer says of the requests that are left, where it does.

The vendor documents no such header; gateways in front of an API send them. Read are ``RateLimit`` (both forms of the
IETF's draft), ``RateLimit-Remaining`` with ``RateLimit-Reset``, and both with ``X-`` in front. A reset is seconds from
now, or a moment in epoch seconds or milliseconds, which is held against the server's own clock.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

_NAMES: Final = ("ratelimit", "x-ratelimit", "x-rate-limit")
_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_MEMBER: Final = re.compile(r"(?:^|[;,\s])(remaining|r|reset|t)\s*=\s*([0-9]{1,15})")

# Larger numbers are moments: seconds since 1970 until the year 5138, from then on milliseconds.
_MOMENT_S: Final = 1e9
_MOMENT_MS: Final = 1e11


class Exhausted(NamedTuple):
    """No request is left until ``reset``: seconds from now, or a moment in epoch seconds."""

    reset: float

    def for_s(self, server_now_s: float) -> float:
        """Seconds from the answer until there are requests again; not clamped but for zero."""
        reset_s = self.reset - server_now_s if self.reset >= _MOMENT_S else self.reset
        return max(0.0, reset_s)


def read_exhausted(headers: Mapping[str, str]) -> Exhausted | None:
    """Return when requests are left again if the headers say that none is left now and when that ends."""
    resets = [reset for remaining, reset in _told(headers) if remaining == 0]
    if not resets:
        return None
    reset = max(resets)
    return Exhausted(reset / 1000 if reset >= _MOMENT_MS else reset)


def _told(headers: Mapping[str, str]) -> Iterator[tuple[float, float]]:
    for name in _NAMES:
        remaining, reset = headers.get(f"{name}-remaining", ""), headers.get(f"{name}-reset", "")
        if _NUMBER.fullmatch(remaining.strip()) and _NUMBER.fullmatch(reset.strip()):
            yield float(remaining), float(reset)
    combined = headers.get("ratelimit", "")
    # One policy after the other ("burst";r=0;t=5, "day";r=9;t=50), or one in parts (limit=9, remaining=0, reset=5).
    policies = combined.split(",") if ";" in combined else [combined]
    for policy in policies:
        found = {name[0:3]: float(value) for name, value in _MEMBER.findall(policy)}
        remaining_s, reset_s = found.get("rem", found.get("r")), found.get("res", found.get("t"))
        if remaining_s is not None and reset_s is not None:
            yield remaining_s, reset_s
