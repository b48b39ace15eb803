"""Consumed messages, with the types that consumed messages have: the client's stubs also cover those that were not."""

from collections.abc import Sequence
from typing import cast

from confluent_kafka import Message

ReceivedHeaders = Sequence[tuple[str, bytes | None]]


def headers_of(message: Message) -> ReceivedHeaders | None:
    """The headers as they came, duplicates included; ``None`` where there are none."""
    return cast("ReceivedHeaders | None", message.headers())


def offset_of(message: Message) -> int:
    """The offset in its partition."""
    return cast("int", message.offset())
