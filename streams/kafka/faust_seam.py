"""Everything that we touch inside Faust, in one place. Written against faust-streaming 0.15.3, which is pinned exactly.

Faust stops the world on every rebalance: it suspends all streams, throws their queues away and starts a recovery of
tables that we do not have. So its rebalance path is used once, with an empty assignment, because that is what starts
the flow control, the fetcher and the timers; afterwards it learns of partitions only through the functions below, and
partitions that stay are never interrupted. What must stay true: Faust never acks, never commits, never declares a
topic, and stays at generation 0.
"""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from faust import Schema, Sensor
from faust.app.base import App
from faust.transport import base
from faust.types import TP, AppT, EventT, StreamT
from faust.types.tuples import ConsumerMessage, Message

from streams.kafka.lease import Chunk

# The generation of the one, empty rebalance. Faust drops an event whose generation is another.
GENERATION: Final = 0
STALE: Final = -1

# What `faust.App` must be created with for this transport.
FAUST_SETTINGS: Final[dict[str, Any]] = {
    "broker": "callstream://",
    "autodiscover": False,
    # No topic is ours to create: leader, changelogs, agents' reply topics.
    "topic_allow_declare": False,
    "topic_disable_leader": True,
    "table_standby_replicas": 0,
    "web_enabled": False,
    # Waits for acks that never come, without a time limit.
    "stream_wait_empty": False,
    # The default restarts an agent in place, behind the chunk on which it failed.
    "agent_supervisor": "mode.CrashingSupervisor",
    "worker_redirect_stdouts": False,
    # Faust makes this directory, for tables that nobody has: not where somebody happens to stand.
    "datadir": str(Path(tempfile.gettempdir()) / "callstream"),
}


class ChunkSchema(Schema[None, Chunk]):
    """The value of a message is a :class:`Chunk` already: nothing is decoded, so nothing is acked as undecodable."""

    def compile(self, app: AppT, **_unused: Any) -> Any:
        """Faust calls this once for a topic, and the result once for a message (its ``Schema.compile``)."""
        create_event = app.create_event

        async def decode(message: Message, *, propagate: bool = False) -> EventT[Any]:  # noqa: ARG001 - Faust's signature
            return create_event(None, message.value, {}, message)

        return decode


class TakenSensor(Sensor):
    """Tells when an agent takes an event: the only public place where Faust says so."""

    def __init__(self, taken: Any) -> None:
        super().__init__()
        self._taken = taken

    def on_stream_event_in(self, tp: TP, offset: int, stream: StreamT[Any], event: EventT[Any]) -> None:  # noqa: ARG002 - Faust's signature
        """Called for every event that is not stale, just before the agent gets it."""
        self._taken(event.message)


def _never_called(method: str) -> Callable[..., Any]:
    def never_called(*_args: Any, **_options: Any) -> Any:
        raise NotImplementedError(f"Faust called Consumer.{method}: another version of it, or a table in the app")

    return never_called


class UnusedConsumerMethods(base.Consumer):
    """What a consumer of Faust's must have, and nobody calls where nothing is assigned when Faust starts."""

    create_topic = _never_called("create_topic")
    earliest_offsets = _never_called("earliest_offsets")
    highwater = _never_called("highwater")
    highwaters = _never_called("highwaters")
    key_partition = _never_called("key_partition")
    position = _never_called("position")
    seek_to_committed = _never_called("seek_to_committed")
    seek_wait = _never_called("seek_wait")
    topic_partitions = _never_called("topic_partitions")
    _commit = _never_called("_commit")
    _getmany = _never_called("_getmany")
    _new_topicpartition = _never_called("_new_topicpartition")
    _seek = _never_called("_seek")
    _to_message = _never_called("_to_message")


def message_of(chunk: Chunk) -> ConsumerMessage:
    """The Faust message that carries ``chunk``. Keys, headers and times are those of the messages inside."""
    lease = chunk.lease
    return ConsumerMessage(
        lease.topic,
        lease.partition,
        chunk.start,
        0.0,
        0,
        None,
        None,
        chunk,  # type: ignore[arg-type] # Faust says bytes, and hands on what it gets
        None,
        tp=TP(lease.topic, lease.partition),
        generation_id=GENERATION,
    )


def chunk_of(message: ConsumerMessage) -> Chunk:
    """The chunk in ``message``."""
    chunk: Any = message.value
    assert isinstance(chunk, Chunk)
    return chunk


def mark_stale(message: ConsumerMessage) -> None:
    """Have Faust drop ``message`` when it comes out of the agent's queue (`_cython/streams.pyx`, `_prepare_event`)."""
    message.generation_id = STALE


def is_stale(message: ConsumerMessage) -> bool:
    """Whether the lease of ``message`` has ended."""
    return message.generation_id == STALE


async def start_without_partitions(app: AppT) -> None:
    """Let Faust go through its start: recovery (of nothing), flow control, fetcher, timers, "Worker ready".

    Its own order is `Consumer.on_partitions_assigned` → `App._on_partitions_assigned` → `Recovery._resume_streams`.
    Must not be awaited in `Consumer.subscribe`, for which `App._on_partitions_assigned` waits.
    """
    app.on_rebalance_start()
    await _base(app)._on_partitions_assigned(set(), GENERATION)  # noqa: SLF001 - see the module's docstring
    app.on_rebalance_return()


async def set_partitions(app: AppT, partitions: Iterable[tuple[str, int]]) -> None:
    """Let events of exactly these partitions reach the agents (`Conductor.on_partitions_assigned` never waits)."""
    assigned = {TP(topic, partition) for topic, partition in partitions}
    base = _base(app)
    base._assignment = assigned  # noqa: SLF001 - what `App._update_assignment` sets
    base.unassigned = not assigned
    await app.topics.on_partitions_assigned(assigned)


def _base(app: AppT) -> App:
    assert isinstance(app, App), "Faust has one class of apps"
    return app
