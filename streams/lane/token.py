"""One access token: what is known of it, and how fast it may be used."""

from dataclasses import dataclass, field

from streams.lane.backoff import Backoff
from streams.lane.pace import WINDOW_S, Pace

# Tokens live 60 minutes (vendor page "Generate Access Token"); the rest is for clocks, latency and a slow renewal.
TOKEN_USE_S = 55 * 60.0

# A successor is asked for this long before a token is put away, so that no request has to wait for it.
RENEW_EARLY_S = 60.0


def _patience() -> Backoff:
    return Backoff(base_s=1.0, cap_s=60.0)


@dataclass(slots=True)
class Token:
    """One usable token. ``proven``: the API has taken it. ``backoff`` counts its 429s. ``repr`` hides the secret."""

    ordinal: int
    minted_at_ms: int
    secret: str = field(repr=False)
    sealed: str = field(repr=False)
    pace: Pace
    use_until_s: float
    proven: bool = False
    backoff: Backoff = field(default_factory=_patience)

    @property
    def minted_s(self) -> float:
        """When it was minted (``boot_s``), or a little before."""
        return self.use_until_s - TOKEN_USE_S

    @property
    def renew_s(self) -> float:
        """When its successor should be there (``boot_s``)."""
        return self.use_until_s - RENEW_EARLY_S

    def serves(self, now_s: float) -> bool:
        """Whether it is worth waiting for. One that rests after a crash is not, if the budget allows a fresh one.

        One that the API throttles is: a fresh one would be throttled too, and there are few.
        """
        free_at_s = self.pace.free_at(1, now_s)
        return free_at_s <= now_s + WINDOW_S or free_at_s == float("inf")
