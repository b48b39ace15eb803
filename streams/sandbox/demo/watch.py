"""Read the topics and the ledger while they grow, and tell whoever waits that something has come."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from confluent_kafka import Message

from streams.kafka.follow import Follower
from streams.sandbox.demo.custody import Custody
from streams.sandbox.demo.requests import LedgerReader, Requests
from streams.settings.sections import TopicSettings

_READ_S: Final = 0.1
# A turn of the loop that also serves the fake API: 500 messages take a few milliseconds.
_READ_MESSAGES: Final = 500


class Watch:
    """Keep ``custody`` and ``requests`` up to date between entry and :meth:`finish`.

    ``follower`` reads parcels, outcomes and dead letters, and is closed at the end of the ``async with`` block.
    """

    def __init__(self, follower: Follower, ledger: LedgerReader, requests: Requests, topics: TopicSettings) -> None:
        self.custody = Custody()
        self.requests = requests
        self._follower = follower
        self._ledger = ledger
        self._takers: dict[str, Callable[[list[Message]], None]] = {
            topics.parcels: self.custody.take_parcels,
            topics.outcomes: self.custody.take_outcomes,
            topics.dead_letters: self.custody.take_dead_letters,
        }
        self._came = asyncio.Event()
        self._ending = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        if self._task is not None:
            # The thread that reads has to come back before the follower may be closed.
            await asyncio.wait([self._task])
        self._follower.close()

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``condition``, looked at whenever something has come or :meth:`nudge` was called.

        Returns whether it holds; ``False`` after ``timeout_s``. Raises what reading the topics raised.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self._came.clear()
                    await self._came.wait()
                    self._check()
        except TimeoutError:
            return condition()
        return True

    def nudge(self) -> None:
        """Make :meth:`until` look again."""
        self._came.set()

    def read_ledger(self) -> None:
        """Take what the ledger has got since the last call."""
        for line in self._ledger.lines():
            self.requests.take(line)

    async def finish(self) -> None:
        """Read everything to its present end: nobody writes any more."""
        self._ending = True
        if self._task is not None:
            await self._task
        await asyncio.to_thread(self._read_rest)
        self.read_ledger()

    async def _read(self) -> None:
        try:
            while not self._ending:
                messages = await asyncio.to_thread(self._follower.read, _READ_S, _READ_MESSAGES)
                if messages:
                    self._take(messages)
                    self._came.set()
        finally:
            self._came.set()

    def _read_rest(self) -> None:
        for messages in self._follower.rest():
            self._take(messages)

    def _take(self, messages: list[Message]) -> None:
        for topic, take in self._takers.items():
            take([message for message in messages if message.topic() == topic])

    def _check(self) -> None:
        if self._task is not None and self._task.done():
            self._task.result()
