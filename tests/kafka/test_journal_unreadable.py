"""What a replay says of a place that it cannot read, and that it never goes on behind it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message

from streams.contracts.errors import UnreadableMessage
from streams.kafka import replay as module
from streams.kafka.client_config import KafkaOptions
from streams.kafka.replay import JournalUnreadable, one_by_one, replay

END = 10


def good(offset):
    return Message("journal", 3, offset, key=b"k%d" % offset, value=b"v")


def bad(offset, code):
    return Message("journal", 3, offset, error=KafkaError(code, "as the client says it"))


@pytest.fixture
def replayed(monkeypatch):
    """Replay a log that ends at offset 10 and of which the client says this; the offsets that were applied."""

    def play(*said: Message) -> list[int]:
        queue = list(said)
        consumer: Any = SimpleNamespace(
            assign=lambda _places: None,
            poll=lambda _wait_s: queue.pop(0) if queue else None,
            consume=lambda _count, _wait_s: [queue.pop(0) for _ in list(queue)],
            close=lambda: None,
        )
        monkeypatch.setattr(module, "Consumer", lambda _config: consumer)
        monkeypatch.setattr(module._Reader, "_watermarks", lambda _reader: (0, END))
        applied: list[int] = []

        def apply(key, _value):
            if key == b"k7":
                raise UnreadableMessage("journal entry", "batch version 9")
            applied.append(int(key[1:]))

        options = KafkaOptions("127.0.0.1:1", "group", "worker-0")
        try:
            asyncio.run(replay(options, "journal", 3, one_by_one(apply), stall_timeout_s=0.2))
        finally:
            found[:] = applied
        return applied

    found: list[int] = []
    return SimpleNamespace(play=play, applied=found)


UNREADABLE = {
    "checksum": KafkaError._BAD_MSG,
    "codec": KafkaError._BAD_COMPRESSION,
    "version": KafkaError._NOT_IMPLEMENTED,
    "size": KafkaError.MSG_SIZE_TOO_LARGE,
}


@pytest.mark.parametrize("code", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.faults("F12", "F13")
def test_a_damaged_batch_is_named_and_nothing_behind_it_is_applied(replayed, code):
    with pytest.raises(
        JournalUnreadable, match=r"journal\[3\]: offsets \[2, 5\) cannot be read: as the client"
    ) as stop:
        replayed.play(good(0), good(1), bad(2, code), good(5), good(6))
    assert (stop.value.start, stop.value.end) == (2, 5)
    assert 5 not in replayed.applied


@pytest.mark.faults("F12")
def test_where_reading_could_go_on_may_not_be_known(replayed):
    with pytest.raises(JournalUnreadable, match=r"offsets \[1, \?\)"):
        replayed.play(good(0), bad(3, KafkaError._BAD_MSG), bad(3, KafkaError._BAD_MSG))


@pytest.mark.faults("F12", "F85")
def test_an_entry_that_is_not_understood_is_named(replayed):
    with pytest.raises(JournalUnreadable, match=r"journal\[3\]: offsets \[7, 8\).*batch version 9.*replica"):
        replayed.play(good(6), good(7), good(8))
    assert replayed.applied == [6]


@pytest.mark.parametrize(
    "code", [KafkaError._AUTO_OFFSET_RESET, KafkaError.TOPIC_AUTHORIZATION_FAILED], ids=["out of range", "forbidden"]
)
def test_what_may_be_otherwise_the_next_time_is_not_called_damaged(replayed, code):
    with pytest.raises(KafkaException):
        replayed.play(good(0), bad(1, code))
