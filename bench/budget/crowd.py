"""Many accounts in one worker: the real lanes and the real runner between a committer and an API in memory.

The loop's clock jumps over all waiting and counts the CPU that is used. So hours of waiting cost nothing, what other
processes of the machine do does not show, and what a worker computes makes its intents late as it would in reality.
"""

import asyncio
import itertools
import random
import selectors
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar
from unittest.mock import patch

from confluent_kafka import Message

from streams.contracts.journal import Packer
from streams.contracts.parcel import Parcel, Row, encode_parcels
from streams.kafka.lease import Chunk, Lease
from streams.kafka.message import OutMessage
from streams.kafka.topic_names import TopicNames
from streams.lane.actions import Check, Post
from streams.lane.lane import Lane
from streams.lane.options import LaneOptions
from streams.lane.reading import Room
from streams.lane.state import Tools
from streams.lane.verdict import Accepted, Minted, NotVisible, PostVerdict, RetryLater
from streams.telemetry.metrics import Metrics, create_registry
from streams.worker import clock
from streams.worker.clock import boot_s
from streams.worker.encode import Encoder
from streams.worker.lane_runner import LaneRunner
from streams.worker.observe import LaneObserver
from streams.worker.owned import OwnedPartition
from streams.worker.sealing import AccountSealer

START_MS = 1_700_000_000_000
START_S = 1_000.0

# A group commit, and an answer.
COMMIT_S = 0.025
ANSWER_S = 0.1

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self._skipped_s = START_S - time.process_time()

    @property
    def now_s(self) -> float:
        return self._skipped_s + time.process_time()

    def select(self, timeout: float | None = None) -> Any:
        # Only the loop's own wake-up pipe is registered: nothing outside can make anything happen.
        assert timeout is not None, "everybody waits for something that will never come"
        self._skipped_s += max(0.0, timeout)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s


class _Clocks:
    """Stands in for the module ``time`` where the worker reads its clocks."""

    CLOCK_BOOTTIME = 0

    def time_ns(self) -> int:
        return round((START_MS + (asyncio.get_running_loop().time() - START_S) * 1000) * 1_000_000)

    def clock_gettime(self, _clock: int) -> float:
        return asyncio.get_running_loop().time()


def play(story: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function to its end on such a clock."""
    with patch.object(clock, "time", _Clocks()), asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(story())


class MemoryCommitter:
    """Commits in groups, and keeps nothing."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._confirmed_s = START_S

    def submit(
        self, _owner: Lease, _messages: Sequence[OutMessage], _next_offset: int | None, _step: str = ""
    ) -> "asyncio.Future[None]":
        """Queue a unit for the next commit."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_later(COMMIT_S, self._commit)
        self._waiting.append(loop.create_future())
        return self._waiting[-1]

    def _commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._confirmed_s = boot_s()
        for unit in waiting:
            unit.set_result(None)

    def fresh_at_s(self, _owner: Lease) -> float | None:
        """When a commit confirmed the lease last."""
        return self._confirmed_s


class MemoryApi:
    """Takes everything. ``throttled`` are accounts that get 429s; ``posted`` is told of each POST that is taken."""

    def __init__(self, posted: Callable[[str, Post], None]) -> None:
        self.throttled: set[str] = set()
        self.refused = 0
        self._posted = posted
        self._names = itertools.count()

    async def mint(self, _account_id: str) -> Minted:
        """A token, always."""
        await asyncio.sleep(ANSWER_S)
        return Minted(f"token-{next(self._names)}")

    async def post(self, account_id: str, action: Post) -> PostVerdict:
        """Taken, or 429."""
        await asyncio.sleep(ANSWER_S)
        if account_id in self.throttled:
            self.refused += 1
            return RetryLater("http_429", throttled=True)
        self._posted(account_id, action)
        return Accepted(f"batch-{next(self._names)}")

    async def check(self, _account_id: str, _action: Check) -> NotVisible:
        """Statuses are not checked here."""
        raise AssertionError("statuses are off")


class Crowd:
    """One worker with one partition and whatever accounts come."""

    def __init__(self, posted: Callable[[str, Post], None], **options: Any) -> None:
        self.api = MemoryApi(posted)
        committer: Any = MemoryCommitter()
        requests: Any = self.api
        topics = TopicNames("intents", "outcomes", "dead_letters", "parcels", "journal", "requests")
        self.runner = LaneRunner(
            committer,
            requests,
            Encoder(topics, "/callstream/bench"),
            LaneObserver(Metrics(create_registry(), "bench")),
            _fatal,
        )
        self.lease = Lease("parcels", 0, 1, 0, START_S)
        packer, refs = Packer(), itertools.count()

        def new_lane(account_id: str) -> Lane:
            sealer = AccountSealer(account_id, "key")
            tools = Tools(random.Random(account_id), lambda: f"ref-{next(refs)}", sealer, packer)
            return Lane(LaneOptions(account_id, statuses="none", **options), tools)

        self.partition = OwnedPartition(self.lease, new_lane, Room(400_000))
        self.runner.partitions[self.lease] = self.partition
        self._position = 0
        self._running = asyncio.ensure_future(self.runner.run())

    def publish(self, *parcels: tuple[str, Sequence[Row]]) -> None:
        """Hand one chunk over."""
        start = self._position
        values = [value for account, rows in parcels for value in encode_parcels(Parcel(account, "intents", 0, rows))]
        messages = [Message("parcels", 0, start + n, value=value) for n, value in enumerate(values)]
        self._position += len(messages)
        self.runner.take(Chunk(self.lease, messages, start, self._position))


def _fatal(_code: int, reason: str) -> None:
    raise AssertionError(reason)


def row(number: int, starts_in_s: float = 600.0) -> Row:
    """Intent ``number``, as of now."""
    now_ms = clock.read_clock().wall_ms
    starts_ms = now_ms + round(starts_in_s * 1000)
    return Row(
        number,
        f"intent-{number}",
        "911234567890",
        f"91{number:010}",
        "6dab73bb-28d8-4030-9722-8663ff9589f3",
        starts_ms,
        starts_ms + 3_600_000,
        recorded_at=now_ms,
    )
