"""The neighbours of the worker's parts, small and real: a committer in memory, an API that a test answers."""

import asyncio
import itertools
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Message

from streams.contracts.journal import JournalKey, Packer
from streams.contracts.parcel import Parcel, Row, encode_parcels
from streams.kafka.committer import LeaseLost
from streams.kafka.lease import Chunk, Lease
from streams.kafka.message import OutMessage
from streams.kafka.topic_names import TopicNames
from streams.lane.actions import Check, ListLabels, Post
from streams.lane.lane import Lane
from streams.lane.options import LaneOptions
from streams.lane.reading import Room
from streams.lane.state import Tools
from streams.telemetry.metrics import Metrics, create_registry
from streams.worker.clock import boot_s
from streams.worker.encode import Encoder
from streams.worker.lane_runner import LaneRunner
from streams.worker.observe import LaneObserver
from streams.worker.owned import OwnedPartition
from streams.worker.sealing import AccountSealer
from tests.worker.virtual import START_MS, START_S

ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"
OTHER_ACCOUNT = "5b1f6e0e-43d1-4b0c-9a51-0d8f0f9a7c11"
LABEL = "6dab73bb-28d8-4030-9722-8663ff9589f3"
CALLER = "918011111111"
TOPICS = TopicNames("intents", "outcomes", "dead_letters", "parcels", "journal", "requests")
EVENT_SOURCE = "/callstream/test"
HOUR_MS = 3_600_000


def row(number: int, **changes: Any) -> Row:
    """Intent ``number``: a call in a minute that may take an hour."""
    starts_at = START_MS + 60_000
    content = {
        "label_id": LABEL,
        "starts_at": starts_at,
        "ends_at": starts_at + HOUR_MS,
        "recorded_at": START_MS,
        **changes,
    }
    return Row(number, f"intent-{number}", CALLER, f"91700000{number:04}", **content)


def lease(topic: str = "parcels", partition: int = 0, *, start: int = 0, **changes: Any) -> Lease:
    return Lease(topic, partition, next(_numbers), start, START_S, **changes)


_numbers = itertools.count()


def chunk_of(owner: Lease, start: int, *parcels: Parcel) -> Chunk:
    """A chunk with one message for each parcel, from offset ``start``."""
    values = [value for parcel in parcels for value in encode_parcels(parcel)]
    messages = [Message(owner.topic, owner.partition, start + n, value=value) for n, value in enumerate(values)]
    return Chunk(owner, messages, start, start + len(messages))


def parcel(*rows: Row, account: str = ACCOUNT) -> Parcel:
    return Parcel(account, "intents", 3, rows)


def new_lane(account_id: str = ACCOUNT, **options: Any) -> Lane:
    refs = itertools.count(1)
    tools = Tools(
        random.Random(1), lambda: f"{account_id[:4]}-{next(refs)}", AccountSealer(account_id, "key"), Packer()
    )
    return Lane(LaneOptions(account_id, **options), tools)


def new_metrics() -> Metrics:
    return Metrics(create_registry(), "test")


class Submitted(NamedTuple):
    """A unit that was handed over, and the future by which its sender learns of it."""

    lease: Lease
    messages: Sequence[OutMessage]
    next_offset: int | None
    done: "asyncio.Future[None]"


class MemoryCommitter:
    """Commits at once, or, with ``at_once`` off, when the test calls :meth:`commit`."""

    def __init__(self) -> None:
        self.at_once = True
        self.units: list[Submitted] = []
        self._fresh_at_s: dict[Lease, float] = {}

    def submit(
        self, owner: Lease, messages: Sequence[OutMessage], next_offset: int | None, _step: str = ""
    ) -> "asyncio.Future[None]":
        unit = Submitted(owner, messages, next_offset, asyncio.get_running_loop().create_future())
        self.units.append(unit)
        if owner.lost:
            unit.done.set_exception(LeaseLost(owner))
            unit.done.exception()
        elif self.at_once:
            self.commit()
        return unit.done

    def fresh_at_s(self, owner: Lease) -> float | None:
        return self._fresh_at_s.get(owner)

    def commit(self) -> None:
        """Make everything durable that was submitted."""
        for unit in self.units:
            if not unit.done.done():
                self._fresh_at_s[unit.lease] = boot_s()
                unit.done.set_result(None)

    def lose(self) -> None:
        """Drop what is not durable of leases that are lost."""
        for unit in self.units:
            if unit.lease.lost and not unit.done.done():
                unit.done.set_exception(LeaseLost(unit.lease))

    def messages(self, topic: str) -> list[OutMessage]:
        """All messages for a topic, durable or not."""
        return [message for unit in self.units for message in unit.messages if message.topic == topic]

    def told(self, topic: str) -> list[dict[str, Any]]:
        """The values of all messages for a topic, read."""
        return [orjson.loads(message.value) for message in self.messages(topic) if message.value is not None]

    def outcomes(self) -> list[dict[str, Any]]:
        """All outcomes of intents, batch events left out."""
        return [told for told in self.told("outcomes") if "intent_id" in told]

    def journaled(self, kind: str) -> list[dict[str, Any]]:
        """All values of a kind of small journal entry, read, durable or not."""
        found = [message for message in self.messages("journal") if kind_of(message) == kind]
        return [orjson.loads(message.value) for message in found if message.value is not None]


def kind_of(message: OutMessage) -> str:
    """The kind of a journal entry."""
    return JournalKey.parse(message.key).kind


class Asked(NamedTuple):
    """A request that was made; the test answers it through ``answer``."""

    at_s: float
    action: Any
    answer: "asyncio.Future[Any]"


class AnsweredByHand:
    """The API as lanes see it: requests wait until the test answers them."""

    def __init__(self) -> None:
        self.mints: list[Asked] = []
        self.posts: list[Asked] = []
        self.checks: list[Asked] = []
        self.pages: list[Asked] = []

    async def mint(self, account_id: str) -> Any:
        return await self._ask(self.mints, account_id)

    async def post(self, _account_id: str, action: Post) -> Any:
        return await self._ask(self.posts, action)

    async def check(self, _account_id: str, action: Check) -> Any:
        return await self._ask(self.checks, action)

    async def labels(self, _account_id: str, action: ListLabels) -> Any:
        return await self._ask(self.pages, action)

    async def _ask(self, asked: list[Asked], action: Any) -> Any:
        asked.append(Asked(boot_s(), action, asyncio.get_running_loop().create_future()))
        return await asked[-1].answer


class Shell:
    """A lane runner with one owned partition between a committer in memory and an API answered by hand."""

    def __init__(self, *, worker_intents_max: int = 400_000, **options: Any) -> None:
        self.committer = MemoryCommitter()
        self.api = AnsweredByHand()
        self.fatal: list[tuple[int, str]] = []
        committer: Any = self.committer
        requests: Any = self.api
        self.runner = LaneRunner(
            committer,
            requests,
            Encoder(TOPICS, EVENT_SOURCE),
            LaneObserver(new_metrics()),
            lambda code, reason: self.fatal.append((code, reason)),
        )
        self.lease = lease()
        self.partition = OwnedPartition(
            self.lease, lambda account_id: new_lane(account_id, **options), Room(worker_intents_max)
        )
        self.runner.partitions[self.lease] = self.partition
        self._running = asyncio.ensure_future(self.runner.run())

    @property
    def lane(self) -> Lane:
        return self.partition.lanes[ACCOUNT].lane

    def offer(self, *rows: Row, offset: int = 0) -> None:
        self.runner.take(chunk_of(self.lease, offset, parcel(*rows)))

    def stop(self) -> None:
        self._running.cancel()
