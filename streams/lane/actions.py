"""What a lane wants done. The shell does it, in order, and tells the lane how it went."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.contracts.journal import Held, Place
from streams.contracts.outcome import BatchFacts, Reason, Status
from streams.contracts.request import RequestRecord
from streams.lane.token import Token


class Outcomes(NamedTuple):
    """The same outcome for several intents. ``record_ids`` has one entry per intent, where the API named records.

    ``counted`` says that a batch event counts these outcomes, so that they may be left out where only batch events are
    wanted.
    """

    status: Status
    held: Sequence[Held]
    sequence: int
    batch_ref: str | None = None
    batch_id: str | None = None
    reason: Reason | None = None
    record_ids: Sequence[str | None] | None = None
    possible_duplicate: bool = False
    counted: bool = False


@dataclass(slots=True)
class Write:
    """Messages that become durable together: one unit of a commit.

    ``entries`` are journal keys and values (``None``: tombstone). ``taken`` are the places that this write takes.
    ``serial`` is non-zero where the lane wants to be told once it is durable. ``dead`` are intents the API refused.
    """

    entries: list[tuple[str, bytes | None]] = field(default_factory=list)
    outcomes: list[Outcomes] = field(default_factory=list)
    events: list[BatchFacts] = field(default_factory=list)
    dead: list[tuple[Held, Reason]] = field(default_factory=list)
    requests: list[RequestRecord] = field(default_factory=list)
    taken: list[Place] = field(default_factory=list)
    serial: int = 0


@dataclass(frozen=True, slots=True)
class Post:
    """Submit the intents of a batch that are still wanted; its attempt is durable."""

    batch_ref: str
    token: Token
    held: Sequence[Held]


@dataclass(frozen=True, slots=True)
class Check:
    """Ask for the statuses of an accepted batch."""

    batch_ref: str
    batch_id: str
    token: Token


@dataclass(frozen=True, slots=True)
class Mint:
    """Ask for an access token; the attempt is durable."""


@dataclass(frozen=True, slots=True)
class ListLabels:
    """Ask for a page of the account's labels, counted from 1."""

    page: int
    token: Token


Action = Write | Post | Check | Mint | ListLabels
