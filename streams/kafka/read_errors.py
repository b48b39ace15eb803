"""Errors that the client reports to a reader, by what they mean for reading on. Pure.

What must stay true: after an error that stops a partition nothing more of it is handed over. The client itself goes on
behind a batch whose checksum is wrong, and a lost batch would then look like a gap of compaction.
"""

from typing import Final, NamedTuple

from confluent_kafka import KafkaError, Message

# What the broker sends cannot be read. After some of these the client goes on behind it, which would lose messages.
UNREADABLE: Final = frozenset(
    {
        KafkaError._BAD_MSG,  # noqa: SLF001 - published codes
        KafkaError._BAD_COMPRESSION,  # noqa: SLF001
        KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)
# The client tries again by itself, says so once, and is silent from then on.
HINDERED: Final = frozenset(
    {
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - published codes
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)

# The client goes on by itself after these; a broker that stays away is noticed by the lack of progress.
PASSING: Final = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - published codes
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
    }
)


class Stop(NamedTuple):
    """Why and where a partition is not read any more.

    ``offset`` is the first one that was not handed over. ``readable_from`` is where the client could go on, if it
    said; ``out_of_range``: the broker does not have ``offset``, ``cause`` is then all that the client knows.
    """

    offset: int
    cause: str
    readable_from: int | None = None
    out_of_range: bool = False


def stop_of(message: Message, error: KafkaError) -> Stop | None:
    """Whether this error of the client ends the reading of its partition, and why."""
    offset = message.offset() or 0
    if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - a published code
        return Stop(offset, error.str(), out_of_range=True)
    return Stop(offset, error.str()) if error.code() in UNREADABLE else None


def readable_from(stop: Stop, message: Message) -> Stop:
    """``message`` came after the error: the first such one tells where reading could go on."""
    return stop if stop.readable_from is not None else stop._replace(readable_from=message.offset())
