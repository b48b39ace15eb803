"""Our Faust transport on confluent-kafka (librdkafka): agents get chunks, one event for up to 1,000 messages.

    app = faust.App("callstream", **FAUST_SETTINGS)
    owned = install(app, TransportOptions(kafka=..., hooks=...))

    @app.agent(chunk_topic(app, "calls.intents.v1"))
    async def route(stream):
        async for event in stream.events():
            chunk: Chunk = event.value

The poll thread (:mod:`streams.kafka.poll_thread`) reads, :mod:`streams.kafka.ownership` holds the leases, this file
fits both into Faust's interfaces. What must stay true: an agent gets the chunks of a lease in order, and none of a
lease that has ended; a full agent holds up its own topic only; what waits for agents is bounded by the marks.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import confluent_kafka
import faust
from faust.exceptions import ImproperlyConfigured
from faust.transport import base
from faust.types import TP, AppT
from faust.types.tuples import ConsumerMessage

from streams.kafka.faust_seam import (
    FAUST_SETTINGS,
    ChunkSchema,
    TakenSensor,
    UnusedConsumerMethods,
    chunk_of,
    is_stale,
    mark_stale,
    message_of,
    set_partitions,
    start_without_partitions,
)
from streams.kafka.lease import Chunk
from streams.kafka.ownership import Ownership
from streams.kafka.standing import PartitionBlocked
from streams.kafka.transport_options import Marks, TransportHooks, TransportOptions

__all__ = [
    "FAUST_SETTINGS",
    "Marks",
    "Ownership",
    "PartitionBlocked",
    "Transport",
    "TransportHooks",
    "TransportOptions",
    "chunk_topic",
    "install",
]

_OWNED: "WeakKeyDictionary[AppT, Ownership]" = WeakKeyDictionary()


def install(app: faust.App, options: TransportOptions) -> Ownership:
    """Say how ``app`` reads Kafka. Once, before it starts; ``app`` is created with ``FAUST_SETTINGS``.

    The result is how the rest of the worker speaks to the transport. When the app stops, the partitions are given up
    while agents, tasks and services still run; when it crashes, they count as lost.
    """
    owned = Ownership(options)
    _OWNED[app] = owned

    async def give_up(*_unused: Any, **_unused_too: Any) -> None:
        await owned.stop(orderly=not app.crashed)

    app.on_before_shutdown.connect(give_up)
    return owned


def chunk_topic(app: faust.App, name: str) -> Any:
    """The topic ``name`` as a channel of :class:`Chunk` events for one agent of ``app``."""
    return app.topic(name, schema=ChunkSchema(), acks=False)


class Consumer(UnusedConsumerMethods):
    """What Faust takes for its consumer. It keeps no offsets: Faust sees no acks and commits nothing."""

    def __init__(self, transport: "Transport", *args: Any, **kwargs: Any) -> None:
        super().__init__(transport, *args, **kwargs)
        owned = _OWNED.get(transport.app)
        if owned is None:
            raise ImproperlyConfigured("streams.kafka.transport.install(app, options) must come before the app starts")
        self._owned = owned
        self._bring_up: asyncio.Future[None] | None = None
        # Bounded by the marks: what an agent has not taken holds its partition.
        self._queues: dict[str, asyncio.Queue[ConsumerMessage]] = defaultdict(asyncio.Queue)
        self._not_taken: dict[tuple[str, int], set[ConsumerMessage]] = defaultdict(set)
        self.app.sensors.add(TakenSensor(self._taken))

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group. Faust calls this once, when the agents have named their topics."""
        if self._bring_up is not None:
            raise ImproperlyConfigured("topics cannot be added while the app runs")
        for topic in topics:
            self._queues[topic] = asyncio.Queue()
        self._bring_up = self.add_future(self._begin(list(self._queues)))

    async def _begin(self, topics: Sequence[str]) -> None:
        await start_without_partitions(self.app)
        await self.can_resume_flow.wait()
        self._owned.start(topics, deliver=self._deliver, changed=self._partitions_changed)

    async def on_stop(self) -> None:
        """Leave the group, if the app has not done so before."""
        await self._owned.stop(orderly=not self.app.crashed)
        await super().on_stop()

    def assignment(self) -> set[TP]:
        """Partitions of live leases."""
        return {TP(lease.topic, lease.partition) for lease in self._owned.leases()}

    # --- From Kafka to the agents -------------------------------------------------------------------------------------

    def _deliver(self, chunk: Chunk) -> None:
        message = message_of(chunk)
        self._not_taken[(chunk.lease.topic, chunk.lease.partition)].add(message)
        self._queues[chunk.lease.topic].put_nowait(message)

    async def _drain_messages(self, fetcher: Any) -> None:  # noqa: ARG002 - Faust's signature
        # Runs in Faust's fetcher, which cancels it. A feeder for each topic: a full agent holds up its own topic only.
        async with asyncio.TaskGroup() as feeders:
            for waiting in self._queues.values():
                feeders.create_task(self._feed(waiting))

    async def _feed(self, waiting: "asyncio.Queue[ConsumerMessage]") -> None:
        while True:
            message = await waiting.get()
            if not is_stale(message):
                await self.callback(message)

    def _taken(self, message: ConsumerMessage) -> None:
        not_taken = self._not_taken[(message.topic, message.partition)]
        if message in not_taken:
            not_taken.discard(message)
            self._owned.taken(chunk_of(message))

    async def _partitions_changed(self, partitions: Sequence[tuple[str, int]]) -> None:
        for gone in self._not_taken.keys() - set(partitions):
            for message in self._not_taken.pop(gone):
                mark_stale(message)
        await set_partitions(self.app, partitions)


class Producer(base.Producer):
    """Faust wants one. Nothing is sent through it: the committer produces, in transactions."""


class Transport(base.Transport):
    """The class behind ``broker="callstream://"``, found through the entry point group ``faust.transports``."""

    Consumer: ClassVar[type[Consumer]] = Consumer
    Producer: ClassVar[type[Producer]] = Producer

    default_port = 9092
    driver_version = f"confluent-kafka={confluent_kafka.__version__}"
