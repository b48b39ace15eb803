"""Whether this worker lives, and whether it is ready.

It lives as long as its event loop turns: the loop beats, and a beat that is overdue means that nothing will ever happen
again, so a supervisor should restart the process. Waiting for Kafka, for the API or for partitions is no reason to die:
that is what readiness tells, with the reasons. Called from the event loop, read from the threads of the HTTP server.
"""

import time
from collections.abc import Callable

STARTING = "starting"


class Health:
    """Beats of the main loop and reasons not to be ready. Begins with :data:`STARTING` held."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, beat_age_max_s: float = 30.0) -> None:
        self._clock = clock
        self._beat_age_max_s = beat_age_max_s
        self._beat_at_s = clock()
        # A dictionary keeps the order in which reasons came; it is replaced, never changed, as other threads read it.
        self._held: dict[str, None] = {STARTING: None}

    def beat(self) -> None:
        """Say that the main loop turns."""
        self._beat_at_s = self._clock()

    def beat_age_s(self) -> float:
        """Seconds since the last beat."""
        return self._clock() - self._beat_at_s

    def live(self) -> bool:
        """Whether the last beat is recent enough."""
        return self.beat_age_s() <= self._beat_age_max_s

    def hold(self, reason: str) -> None:
        """Be not ready, because of ``reason``, until it is released. Holding twice is holding once."""
        self._held = {**self._held, reason: None}

    def release(self, reason: str) -> None:
        """Take ``reason`` back; releasing what is not held changes nothing."""
        self._held = {held: None for held in self._held if held != reason}

    def reasons(self) -> tuple[str, ...]:
        """Why this worker is not ready, oldest first; empty if it is."""
        return tuple(self._held)

    @property
    def ready(self) -> bool:
        """Whether nothing is held."""
        return not self._held
