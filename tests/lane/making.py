"""Rows, lanes and records for the tests of this folder, short enough to be read in a table."""

import itertools
import random
from collections.abc import Sequence
from typing import Any

from streams.contracts.command import Command, Result
from streams.contracts.journal import BatchEntry, Entry, Held, JournalKey, Packer, Place, decode_entry
from streams.contracts.outcome import Status
from streams.contracts.parcel import Parcel, Row
from streams.lane import answers, commands
from streams.lane.actions import Action, Check, ListLabels, Mint, Post, Write
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.options import LaneOptions
from streams.lane.recovery import AccountState, JournalFold, restore
from streams.lane.state import Tools
from streams.lane.verdict import Minted, PostVerdict, RecordState, RecordStatus

ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"
START = Instant(1_700_000_000_000, 1000.0)
MINUTE_MS = 60_000


def after(seconds: float, since: Instant = START) -> Instant:
    """The moment ``seconds`` later, on both clocks."""
    return Instant(since.wall_ms + round(seconds * 1000), since.boot_s + seconds)


def row(number: int, *, caller: str = "911", receiver: str | None = None, **changes: Any) -> Row:
    """Intent ``number``: another receiver for each, a call in ten minutes that may take an hour."""
    starts_at = START.wall_ms + 10 * MINUTE_MS
    content = {"label_id": "label", "starts_at": starts_at, "ends_at": starts_at + 60 * MINUTE_MS, **changes}
    return Row(number, f"intent-{number}", caller, receiver or f"92{number}", **content)


def held(number: int, *, offset: int = 0, **changes: Any) -> Held:
    return Held(Place(offset, number), "intents", 0, row(number, **changes))


def parcel(rows: Sequence[Row]) -> Parcel:
    return Parcel(ACCOUNT, "intents", 0, rows)


class OpenSealer:
    """Seals by marking; does not open what another sealed."""

    def seal(self, token: str) -> str:
        return f"sealed:{token}"

    def open(self, sealed: str) -> str | None:
        return sealed.removeprefix("sealed:") if sealed.startswith("sealed:") else None


def new_lane(**options: Any) -> Lane:
    refs = itertools.count(1)
    tools = Tools(random.Random(1), lambda: f"ref-{next(refs)}", OpenSealer(), Packer())
    return Lane(LaneOptions(ACCOUNT, **options), tools)


def minted_lane(token: str = "token", **options: Any) -> Lane:
    """A lane that has a token already."""
    lane = new_lane(**options)
    lane.tokens.start_mint(START)
    answers.minted(lane, Minted(token), START.wall_ms, START)
    return lane


class Driven:
    """A lane whose writes are durable at once; keeps them, and the requests that it asked for."""

    def __init__(self, lane: Lane, now: Instant = START) -> None:
        self.lane = lane
        self.now = now
        self.writes: list[Write] = []
        self.requests: list[Post | Check | Mint | ListLabels] = []

    def offer(self, rows: Sequence[Row], offset: int = 0) -> int:
        return self.lane.offer(offset, parcel(rows), self.now)

    def step(self, seconds: float = 0.0) -> list[Post | Check | Mint | ListLabels]:
        """Let time pass, step until nothing happens, return the new requests."""
        self.now = after(seconds, self.now)
        before = len(self.requests)
        while actions := self.lane.step(self.now):
            for action in actions:
                self._perform(action)
        return self.requests[before:]

    def _perform(self, action: Action) -> None:
        if isinstance(action, Write):
            self.wrote(action)
        else:
            self.requests.append(action)

    def wrote(self, write: Write) -> Write:
        self.writes.append(write)
        if write.serial:
            self.lane.durable(write.serial)
        return write

    def post(self, seconds: float = 0.0) -> Post:
        """The one POST that the lane asks for."""
        (request,) = self.step(seconds)
        assert isinstance(request, Post)
        return request

    def answer(self, post: Post, verdict: PostVerdict, seconds: float = 0.1) -> Write:
        sent_ms = self.now.wall_ms
        self.now = after(seconds, self.now)
        return self.wrote(answers.posted(self.lane, post.batch_ref, verdict, sent_ms, self.now))

    def told(self, verb: str, *, offset: int = 100, command_id: str = "", **arguments: str) -> tuple[Result, Write]:
        """An operator's command is read."""
        command = Command(command_id or f"command-{offset}", ACCOUNT, verb, arguments, self.now.wall_ms, "me")
        write, result = commands.apply(self.lane, command, offset, self.now)
        self.wrote(write)
        return result, write

    def check(self, seconds: float) -> Check:
        (request,) = self.step(seconds)
        assert isinstance(request, Check)
        return request

    @property
    def journal(self) -> dict[str, bytes | None]:
        """What a compacted journal holds of all this."""
        return {key: value for write in self.writes for key, value in write.entries}

    def taken_over(self, now: Instant, lane: Lane | None = None) -> "Driven":
        """Another owner, who starts from the journal."""
        successor = Driven(lane or new_lane(), now)
        fold = JournalFold()
        for key, value in self.journal.items():
            fold.apply(key.encode(), value)
        states = dict(fold.accounts())
        successor.wrote(restore(successor.lane, states.get(ACCOUNT, AccountState()), now))
        return successor


def entry(write: Write, key: str) -> Entry | None:
    """The entry that a write has for a key; ``None`` for a tombstone."""
    (value,) = [value for name, value in write.entries if name == key]
    return None if value is None else decode_entry(JournalKey.parse(key.encode()), value)


def batch_entry(write: Write) -> BatchEntry | None:
    (key,) = [name for name, _ in write.entries if name.startswith("batch/")]
    found = entry(write, key)
    assert found is None or isinstance(found, BatchEntry)
    return found


def said(write: Write) -> list[tuple[Status, int, int, str | None, bool]]:
    """Status, how many, sequence, code of the reason and flag of each group of outcomes."""
    return [
        (o.status, len(o.held), o.sequence, o.reason.code if o.reason else None, o.possible_duplicate)
        for o in write.outcomes
    ]


def record(
    one: Row, state: RecordState = RecordState.DELIVERED, *, masked: bool = False, **changes: Any
) -> RecordStatus:
    """What a status answer says about an intent."""
    fields = {
        "record_id": f"record-{one.source_offset}",
        "caller": None if masked else one.caller,
        "receiver": None if masked else one.receiver,
        "label_id": one.label_id,
        "label_name": None,
        "call_reason": None,
        "starts_at": one.starts_at,
        "ends_at": one.ends_at,
        "state": state,
        "raw": state.value,
        "message": None,
    }
    return RecordStatus(**{**fields, **changes})


def drop_token(driven: Driven) -> None:
    """The API takes the first token no more."""
    token = driven.lane.tokens.find(0)
    assert token is not None
    driven.lane.tokens.refused(token, driven.now)
