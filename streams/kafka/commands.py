"""Tell the owner of an account something, and hear how it went.

Needs no group and no rights beyond writing parcels and reading the journal. What must stay true: a command goes to the
partition that the account's parcels go to, so the number of partitions is checked first; the journal is followed from
before the command was sent, so that its answer cannot be missed.
"""

import time
from dataclasses import dataclass, replace

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.contracts.command import Command, answered, encode_command
from streams.kafka.client_config import KafkaOptions, plain_producer_config, reader_config
from streams.kafka.follow import Follower, partitions_of
from streams.kafka.partitions import partition_of

_DELIVERY_S = 30.0
_LOOK_EVERY_S = 0.2


class PartitionsDiffer(Exception):
    """A topic has another number of partitions than the settings say."""

    def __init__(self, topic: str, found: int, expected: int) -> None:
        super().__init__(f"{topic} has {found} partitions, kafka.partitions is {expected}")


@dataclass(frozen=True, slots=True)
class CommandTopics:
    """Where commands go, and where their answers are. Both topics have ``partitions`` partitions."""

    parcels: str
    journal: str
    partitions: int


def send(options: KafkaOptions, topics: CommandTopics, command: Command, wait_s: float) -> str | None:
    """Send a command and wait up to ``wait_s`` for its result; ``None`` if there is none yet: it stays queued.

    Raises:
        TopicMissing: One of the topics does not exist.
        PartitionsDiffer: The settings are not those of the workers.
        KafkaException: Kafka cannot be reached, or refuses the command; it was not sent.
    """
    partition = partition_of(command.account_id.encode(), topics.partitions)
    us = replace(options, instance="command")
    producer = Producer(
        plain_producer_config(us) | {"log_level": 0, "delivery.timeout.ms": round(_DELIVERY_S * 1000), "linger.ms": 0}
    )
    for topic in (topics.parcels, topics.journal):
        if (found := len(partitions_of(producer, topic))) != topics.partitions:
            raise PartitionsDiffer(topic, found, topics.partitions)
    reader = reader_config(us) | {"log_level": 0}
    with Follower(reader, [topics.journal], from_beginning=False, only=partition) as journal:
        _produce(producer, topics.parcels, partition, command)
        return _answer(journal, command.id, wait_s)


def _produce(producer: Producer, topic: str, partition: int, command: Command) -> None:
    failed: list[KafkaError] = []

    def done(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error)

    producer.produce(topic, encode_command(command), command.account_id.encode(), partition, on_delivery=done)
    unfinished = producer.flush(_DELIVERY_S + 5)
    assert not unfinished, "the client gives up by itself before that"
    if failed:
        raise KafkaException(failed[0])


def _answer(journal: Follower, command_id: str, wait_s: float) -> str | None:
    deadline_s = time.monotonic() + wait_s
    while (left_s := deadline_s - time.monotonic()) > 0:
        for message in journal.read(min(_LOOK_EVERY_S, left_s)):
            found = answered(message.key())
            if found is not None and found[0] == command_id:
                return found[1]
    return None
