"""Where reading of a partition starts, and where its log ends: asked of the broker, never of the group consumer.

The client could look the committed offset up by itself, but a resume during that lookup delivers the partition from its
start again, and the lookup waits for open transactions of a dead predecessor (read_committed, up to the transaction
timeout), which would hold up every other partition. So each question has a consumer of its own, outside the group, and
holds up nobody. Not the admin client's ``list_consumer_group_offsets``: once the group's coordinator has been away it
is never answered again, and the client may abort the process when the connection closes (librdkafka 2.16.1, the
assertion in ``rd_kafka_enq_once_del_source_return``). What an answer means is decided in :mod:`streams.kafka.standing`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from streams.kafka.client_config import KafkaOptions, admin_config, reader_config
from streams.kafka.leaders import Leaders
from streams.kafka.standing import Committed, Standing, committed_of

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_S: Final = 5.0
# Short, as the end of the process waits for it.
COMMITTED_TIMEOUT_S: Final = 2.0
# Questions for committed offsets at a time. Each that waits for a transaction takes a thread.
COMMITTED_AT_ONCE: Final = 32
RETRY_MIN_S: Final = 0.05
RETRY_MAX_S: Final = 1.0
COMPLAIN_EVERY_S: Final = 10.0

# Asking again does not help. Everything else (broker away, coordinator moving, transaction still open) passes.
HOPELESS: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)

# A broker before 2.8, or the mock cluster.
NO_TOPIC_ID: Final = frozenset({"None", "AAAAAAAAAAAAAAAAAAAAAA"})

EARLIEST: Final[OffsetSpec] = OffsetSpec.earliest()  # type: ignore[no-untyped-call] # untyped upstream
LATEST: Final[OffsetSpec] = OffsetSpec.latest()  # type: ignore[no-untyped-call] # untyped upstream

T = TypeVar("T")


class Offsets:
    """Questions about offsets. Main loop. To be closed."""

    def __init__(self, options: KafkaOptions) -> None:
        self._group_id = options.group_id
        self._admin = AdminClient(admin_config(options))
        # What goes wrong is told by those who ask; the client would write a line for every attempt to connect.
        self._reader_config: dict[str, Any] = reader_config(options) | {"log_level": 0}
        self._leaders = Leaders(self._admin, REQUEST_TIMEOUT_S)
        self._threads = ThreadPoolExecutor(COMMITTED_AT_ONCE, thread_name_prefix="callstream-offsets")

    def close(self) -> None:
        """Ask no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def standing_of(self, topic: str, partition: int) -> Standing:
        """How a partition stands. Patient: a broker that is away is asked again, without end.

        Raises:
            KafkaException: the broker forbids the question.
        """
        where = TopicPartition(topic, partition)
        committed = await _patiently(f"committed offset of {topic}/{partition}", lambda: self._committed(where))
        # After it: the wait may be for the very transaction that moves the end of the log.
        low, high, stable, (topic_id, partitions) = await asyncio.gather(
            _patiently(f"log start of {topic}/{partition}", lambda: self._bound(where, EARLIEST)),
            _patiently(f"log end of {topic}/{partition}", lambda: self._bound(where, LATEST)),
            _patiently(f"stable end of {topic}/{partition}", lambda: self._bound(where, LATEST, stable=True)),
            _patiently(f"identity of {topic}", lambda: self._identity(topic)),
        )
        return Standing(topic, partition, committed, low, high, stable, topic_id, partitions)

    async def identities_of(self, topics: Collection[str]) -> dict[str, str | None]:
        """The identities of those topics that are there now; topics that do not answer are left out."""
        answers = await asyncio.gather(*(self._identity(topic) for topic in topics), return_exceptions=True)
        return {
            topic: answer[0]
            for topic, answer in zip(topics, answers, strict=True)
            if not isinstance(answer, BaseException)
        }

    async def log_start(self, topic: str, partition: int) -> int:
        """The first offset that the log still has.

        Raises:
            KafkaException: the broker forbids the question.
        """
        where = TopicPartition(topic, partition)
        return await _patiently(f"log start of {topic}/{partition}", lambda: self._bound(where, EARLIEST))

    async def ends_of(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Log ends as a ``read_committed`` reader sees them; partitions that do not answer are left out."""
        asked = {TopicPartition(topic, partition): LATEST for topic, partition in partitions}
        if not asked:
            return {}
        try:
            answers = await self._list(asked, IsolationLevel.READ_COMMITTED)
        except KafkaException:
            return {}
        return {
            (where.topic, where.partition): answer
            for where, answer in answers.items()
            if not isinstance(answer, BaseException)
        }

    async def _committed(self, where: TopicPartition) -> Committed | None:
        found = await asyncio.get_running_loop().run_in_executor(self._threads, self._ask_committed, where)
        if found.error is not None:
            raise KafkaException(found.error)
        return committed_of(found.offset, found.metadata)

    def _ask_committed(self, where: TopicPartition) -> TopicPartition:
        # A client lets one thread in at a time, so each question has a client of its own.
        with closing(Consumer(self._reader_config)) as reader:
            (found,) = reader.committed([where], timeout=COMMITTED_TIMEOUT_S)
        return found

    async def _bound(self, where: TopicPartition, spec: OffsetSpec, *, stable: bool = False) -> int:
        isolation = IsolationLevel.READ_COMMITTED if stable else IsolationLevel.READ_UNCOMMITTED
        (answer,) = (await self._list({where: spec}, isolation)).values()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def _list(
        self, asked: Mapping[TopicPartition, OffsetSpec], isolation: IsolationLevel
    ) -> dict[TopicPartition, int | BaseException]:
        """The offsets of what was asked, or why there is none."""
        topics = {where.topic for where in asked}
        await asyncio.get_running_loop().run_in_executor(self._threads, self._leaders.learn, topics)
        futures = self._admin.list_offsets(dict(asked), isolation_level=isolation, request_timeout=REQUEST_TIMEOUT_S)
        answers = await asyncio.gather(*map(asyncio.wrap_future, futures.values()), return_exceptions=True)
        found: dict[TopicPartition, int | BaseException] = {}
        for where, answer in zip(futures, answers, strict=True):
            if isinstance(answer, BaseException):
                self._leaders.forget([where.topic])
                found[where] = answer
            else:
                found[where] = int(answer.offset)
        return found

    async def _identity(self, topic: str) -> tuple[str | None, int]:
        futures = self._admin.describe_topics(TopicCollection([topic]), request_timeout=REQUEST_TIMEOUT_S)
        description = await asyncio.wrap_future(futures[topic])
        topic_id = str(description.topic_id)
        return None if topic_id in NO_TOPIC_ID else topic_id, len(description.partitions)


async def _patiently(what: str, ask: Callable[[], Awaitable[T]]) -> T:
    pause_s, silent_s = RETRY_MIN_S, 0.0
    while True:
        try:
            return await ask()
        except KafkaException as error:
            cause = error.args[0]
            if cause.code() in HOPELESS:
                raise
        if silent_s >= COMPLAIN_EVERY_S:
            logger.warning("still asking for the %s: %s", what, cause.str())
            silent_s = 0.0
        await asyncio.sleep(pause_s)
        silent_s += pause_s
        pause_s = min(pause_s * 2, RETRY_MAX_S)
