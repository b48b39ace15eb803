"""What the commands share that look into the journal, and tell the owners of accounts something.

Reading is a replay as a new owner would make it, in no group and without writing anything: it shows what is committed,
not what a worker has in mind. Changes are asked for as commands, which the account's owner applies in its own time.
"""

import asyncio
import getpass
import socket
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Annotated

import typer
import uuid_utils
from confluent_kafka import Consumer

from streams.cli.kafka import KafkaView
from streams.contracts.command import Command, Verb
from streams.contracts.exits import ExitCode, OperatorError
from streams.kafka.client_config import reader_config
from streams.kafka.commands import CommandTopics, PartitionsDiffer, send
from streams.kafka.follow import partitions_of
from streams.kafka.partitions import partition_of
from streams.kafka.replay import one_by_one, replay
from streams.lane.recovery import AccountState, JournalFold

WaitOption = Annotated[
    float, typer.Option("--wait-s", min=0, help="How long to wait until a worker has applied it; 0 does not wait.")
]

# Each replay has two connections; a dozen partitions are read in a moment all the same.
_REPLAYS_AT_ONCE = 4


class Refused(OperatorError):
    """What was asked for cannot be done as things stand; the text says why and what to do next."""

    exit_code = ExitCode.PRECONDITION


class NoAnswer(OperatorError):
    """The command is queued, and no worker has applied it yet."""

    exit_code = ExitCode.CRASH


def now_ms() -> int:
    """The time, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def read_journal(view: KafkaView, account_id: str | None = None) -> dict[str, AccountState]:
    """What the journal holds of each account, or only of the accounts that share this one's partition.

    Raises what :func:`streams.cli.kafka.kafka_errors` puts into words.
    """
    states: dict[str, AccountState] = {}

    async def read(partition: int, slots: asyncio.Semaphore) -> None:
        fold = JournalFold()
        async with slots:
            await replay(view.options, view.topics.journal, partition, one_by_one(fold.apply))
        states.update(fold.accounts())

    async def read_all() -> None:
        slots = asyncio.Semaphore(_REPLAYS_AT_ONCE)
        await asyncio.gather(*(read(partition, slots) for partition in chosen))

    everything = _partitions(view)
    chosen = everything if account_id is None else [partition_of(account_id.encode(), len(everything))]
    asyncio.run(read_all())
    return states


def _partitions(view: KafkaView) -> list[int]:
    """Those that the journal has. Asked first: a Kafka that is away, or has no journal, is told at once and once."""
    with closing(Consumer(reader_config(view.options) | {"log_level": 0})) as asking:
        return partitions_of(asking, view.topics.journal)


def tell(view: KafkaView, account_id: str, verb: Verb, arguments: Mapping[str, str], wait_s: float) -> str | None:
    """Send a command and wait for its answer, a ``Result``; ``None`` if none was waited for.

    Raises:
        NoAnswer: Nobody has applied it within ``wait_s``; it stays queued.
        Refused: The settings contradict the topics.
    """
    command = Command(str(uuid_utils.uuid7()), account_id, verb, arguments, now_ms(), _who())
    topics = CommandTopics(view.topics.parcels, view.topics.journal, view.partitions)
    try:
        result = send(view.options, topics, command, wait_s)
    except PartitionsDiffer as error:
        raise Refused(f"{error}; use the workers' settings: nothing was sent") from error
    if result is None and wait_s > 0:
        raise NoAnswer(
            f"the command is queued, but no worker has applied it within {wait_s:g} s: it will be as soon as the "
            "account's partition has an owner that has read up to it; is a worker running?"
        )
    return result


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"  # a container may have no name for its user
    return f"{user}@{socket.gethostname()}"
