"""How often an account may ask for a token.

The API grants 10 mints per 30 minutes and account. An attempt is journaled before it is made, so that a worker that
crashes in a loop cannot go beyond; it counts from when it ended, since nobody knows when in between the API saw it.
"""

from streams.contracts.journal import TokensEntry
from streams.lane.instant import Instant

MINT_WINDOW_S = 30 * 60.0

# How far the clock of the worker that wrote a time may have been off.
CLOCK_DOUBT_S = 5.0

# After a crash nobody knows what the previous owner sent last. By this long after the assignment all of it has ended.
CRASH_RUN_S = 35.0

# Nor when the attempt to mint that it had journaled last reached the API: after its commit, within its deadline.
CRASH_MINT_S = 120.0


class Mints:
    """The attempts of the last half hour, successful or not, in their order; the last one may be running.

    They count by ``boot_s``, which does not jump; the wall clock is journaled as it was first read, so that hand-overs
    do not add up the errors of clocks.
    """

    def __init__(self, count_max: int) -> None:
        self.count_max = count_max
        self.running = False
        self._ended: list[Instant] = []
        self._last_s = float("-inf")

    def restore(self, entry: TokensEntry, now: Instant) -> None:
        """Take over the attempts of a previous owner."""
        mints_ms = list(entry.mints)
        # What has to be far from the last one is so from when it was tried, whatever it may count as.
        self._last_s = now.boot_of(mints_ms[-1]) if mints_ms else float("-inf")
        if mints_ms and not entry.released:
            latest_ms = now.wall_ms + round(CRASH_RUN_S * 1000)
            mints_ms[-1] = min(latest_ms, mints_ms[-1] + round(CRASH_MINT_S * 1000))
        self._ended = [Instant(minted_ms, now.boot_of(minted_ms)) for minted_ms in mints_ms]

    def recent(self, now: Instant) -> list[Instant]:
        """The attempts that count now."""
        horizon_s = now.boot_s - MINT_WINDOW_S - CLOCK_DOUBT_S
        return [mint for mint in self._ended if mint.boot_s > horizon_s]

    def last_s(self) -> float:
        """When the last one ended, as far as is known (``boot_s``); minus infinity if there was none."""
        return self._last_s

    def allowed_at(self, now: Instant, kept_back: int = 0) -> float:
        """When there may be one more, with so many left of the quota after it; minus infinity if at any time."""
        recent = sorted(mint.boot_s for mint in self.recent(now))
        count_max = self.count_max - kept_back
        if len(recent) < count_max:
            return float("-inf")
        return recent[-count_max] + MINT_WINDOW_S + CLOCK_DOUBT_S

    def start(self, now: Instant) -> None:
        """An attempt is about to be journaled, then made."""
        self.running = True
        self._ended = [*self.recent(now), now]
        self._last_s = now.boot_s

    def end(self, now: Instant) -> None:
        """The attempt has ended, however."""
        self.running = False
        self._ended[-1] = now
        self._last_s = now.boot_s
