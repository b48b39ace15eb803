"""What the poll thread tells the main loop."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from streams.kafka.claim import Claim
from streams.kafka.lease import Chunk
from streams.kafka.read_errors import Stop


class Listener(Protocol):
    """Who hears from the poll thread, in the poll thread."""

    def assigned(self, claims: Sequence[Claim]) -> None:
        """The group gave partitions. Reading begins with :meth:`PollThread.begin`."""

    def revoked(self, claims: Sequence[Claim], *, lost: bool) -> "Future[None]":
        """The group takes partitions. The future is done when they may go; nobody waits for it if ``lost``."""

    def handed(self, chunks: Sequence[tuple[Claim, Chunk]]) -> None:
        """Chunks to be processed."""

    def stopped_reading(self, claim: Claim, stop: Stop) -> None:
        """This partition is not read any more; what was handed over before is whole and good."""

    def hindered(self, claim: Claim, reason: str) -> None:
        """The client is not let, for now. It tries again by itself; :meth:`flowing` tells when that worked."""

    def flowing(self, claim: Claim) -> None:
        """A partition that was hindered is read again."""
