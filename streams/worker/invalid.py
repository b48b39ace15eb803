"""Partitions of the intents that have turned invalid: told, and with the setting ``pause`` not read for a while.

Most messages of a partition are invalid when a dialer has begun to write something else, or when our own settings lack
its accounts. Reading on makes a dead letter of each; a pause leaves them where they are until somebody has looked. What
must stay true: a pause ends by itself, and a partition that is still bad then costs the next thousand messages, and
what the client has fetched by then; no other partition waits.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import structlog

from streams.intake.ratio import InvalidRatio, News
from streams.kafka.lease import Lease
from streams.telemetry.metrics import Metrics

log = structlog.stdlib.get_logger(__name__)

# Long enough that a bad night costs some ten thousand dead letters a partition, short enough to go on by itself soon
# after the cause is mended.
PAUSE_S: Final = 300.0

_REMEDIES: Final = {
    "alert": "mend the dialer, or the accounts in the settings; `callstream validate` explains single messages",
    "pause": "mend the dialer, or the settings and restart; it is read again by itself after a while",
}


@dataclass(slots=True)
class _Watched:
    ratio: InvalidRatio = field(default_factory=InvalidRatio)
    paused: bool = False


@dataclass(eq=False, slots=True)
class InvalidWatch:
    """Watches the partitions of this worker: ``action`` is the setting, ``pause`` and ``resume`` the transport's."""

    action: Literal["alert", "pause"]
    pause: Callable[[Lease], None]
    resume: Callable[[Lease], None]
    metrics: Metrics
    _watched: dict[Lease, _Watched] = field(default_factory=dict)

    def saw(self, lease: Lease, messages: int, invalid: Counter[str]) -> None:
        """A chunk of ``lease`` was judged; ``invalid`` counts its invalid messages by reason."""
        watched = self._watched.get(lease)
        if watched is None:
            watched = self._watched[lease] = _Watched()
        # What was fetched before a pause took hold says nothing about the time after it.
        if watched.paused:
            return
        news = watched.ratio.add(messages, invalid.total())
        if news is News.MOSTLY_INVALID:
            self._turned(lease, watched, invalid)
        elif news is News.MOSTLY_VALID:
            log.info("intents_valid_again", topic=lease.topic, partition=lease.partition)

    def sample(self) -> None:
        """Set the gauges; to be called about once a second."""
        self._watched = {lease: watched for lease, watched in self._watched.items() if lease.alive}
        paused = sum(watched.paused for watched in self._watched.values())
        bad = sum(watched.ratio.mostly_invalid for watched in self._watched.values())
        self.metrics.partitions_invalid.labels("paused").set(paused)
        self.metrics.partitions_invalid.labels("read").set(bad - paused)

    def _turned(self, lease: Lease, watched: _Watched, invalid: Counter[str]) -> None:
        pauses = self.action == "pause"
        log.error(
            "intents_mostly_invalid",
            topic=lease.topic,
            partition=lease.partition,
            messages=watched.ratio.seen,
            invalid=watched.ratio.invalid,
            reason=invalid.most_common(1)[0][0],
            paused_s=PAUSE_S if pauses else 0,
            remedy=_REMEDIES[self.action],
        )
        if pauses:
            watched.paused = True
            self.pause(lease)
            asyncio.get_running_loop().call_later(PAUSE_S, self._go_on, lease)

    def _go_on(self, lease: Lease) -> None:
        watched = self._watched.get(lease)
        if watched is None or not lease.alive:
            return
        watched.paused = False
        watched.ratio.begin_anew()
        self.resume(lease)
        log.warning("intents_read_again", topic=lease.topic, partition=lease.partition)
