"""Whether most of what comes in a partition is invalid. Pure.

Decided here: over how many messages that is judged, and when it is news. What must stay true: a verdict rests on 1,000
messages at least, so that a few bad ones in a quiet partition are no alarm; the chunk that completes a bad thousand is
the one that tells.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

MESSAGES_MIN: Final = 1_000


class News(Enum):
    """What has changed about a partition."""

    MOSTLY_INVALID = "mostly_invalid"
    MOSTLY_VALID = "mostly_valid"


@dataclass(slots=True)
class InvalidRatio:
    """The last messages of one partition: the fewest latest chunks that are :data:`MESSAGES_MIN` messages together.

    ``seen`` and ``invalid`` are how many those are now. ``mostly_invalid`` is the verdict, as of the last judgement.
    """

    mostly_invalid: bool = False
    seen: int = 0
    invalid: int = 0
    _chunks: deque[tuple[int, int]] = field(default_factory=deque)

    def add(self, seen: int, invalid: int) -> News | None:
        """Count a chunk with so many messages, so many of them invalid. Returns what that changes, if anything."""
        self._chunks.append((seen, invalid))
        self.seen += seen
        self.invalid += invalid
        while self.seen - self._chunks[0][0] >= MESSAGES_MIN:
            old_seen, old_invalid = self._chunks.popleft()
            self.seen -= old_seen
            self.invalid -= old_invalid
        if self.seen < MESSAGES_MIN or (mostly := self.invalid * 2 > self.seen) == self.mostly_invalid:
            return None
        self.mostly_invalid = mostly
        return News.MOSTLY_INVALID if mostly else News.MOSTLY_VALID

    def begin_anew(self) -> None:
        """Forget what was seen and the verdict: the next thousand is judged by itself."""
        self._chunks.clear()
        self.seen = self.invalid = 0
        self.mostly_invalid = False
