"""What the poll thread hands over when the client reports that something cannot be read: nothing behind it, ever."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message

from streams.kafka.chunks import Cutter
from streams.kafka.claim import Backlog, Claim, Hold
from streams.kafka.client_config import KafkaOptions
from streams.kafka.lease import Lease
from streams.kafka.poll_thread import PollThread
from streams.kafka.transport_options import Marks, TransportOptions


class Listening:
    """What the main loop would hear."""

    def __init__(self):
        self.chunks = []
        self.stops = []
        self.hints = []

    def handed(self, chunks):
        self.chunks += [chunk for _, chunk in chunks]

    def stopped_reading(self, claim, stop):
        self.stops.append(stop)

    def hindered(self, claim, reason):
        self.hints.append(reason)

    def flowing(self, claim):
        self.hints.append("flowing")


@pytest.fixture
def reading():
    """A poll thread that does not run, with one partition, read from offset 5."""
    listening: Any = Listening()
    hooks: Any = None
    options = TransportOptions(KafkaOptions("127.0.0.1:1", "group", "worker-0"), hooks=hooks)
    thread = PollThread(options, listening)
    lease = Lease("intents", 0, 0, 5, 0.0)
    claim = Claim("intents", 0, 0, 0.0, Backlog(Marks()), lease=lease)
    claim.cutter = Cutter(lease, records_max=100, bytes_max=1_000_000)
    thread._claims[("intents", 0)] = claim
    held: list[Any] = []
    consumer: Any = SimpleNamespace(pause=held.append)
    return SimpleNamespace(
        hand_over=lambda *messages: thread._hand_over(consumer, messages), claim=claim, heard=listening, held=held
    )


def good(offset):
    return Message("intents", 0, offset, value=b"x")


def bad(offset, code):
    return Message("intents", 0, offset, error=KafkaError(code))


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(KafkaError._BAD_MSG, id="F12-checksum"),
        pytest.param(KafkaError._BAD_COMPRESSION, id="F13-compression"),
        pytest.param(KafkaError._NOT_IMPLEMENTED, id="F13-unknown-codec"),
        pytest.param(KafkaError._AUTO_OFFSET_RESET, id="F8-out-of-range"),
    ],
)
def test_nothing_behind_what_cannot_be_read_is_handed_over(reading, code):
    reading.hand_over(good(5), good(6), bad(7, code), good(9), good(10))
    assert [(chunk.start, chunk.next, len(chunk.messages)) for chunk in reading.heard.chunks] == [(5, 7, 2)]
    (stop,) = reading.heard.stops
    assert stop.offset == 7
    assert Hold.STOPPED in reading.claim.holds
    assert len(reading.held) == 1
    reading.hand_over(good(11))
    assert len(reading.heard.chunks) == 1, "nor anything that comes later"


@pytest.mark.parametrize(
    "code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART], ids=["F15-forbidden", "F10-away"]
)
def test_a_topic_that_may_not_be_read_is_not_taken_for_an_empty_one(reading, code):
    reading.hand_over(good(5))
    reading.hand_over(bad(0, code))
    assert len(reading.heard.hints) == 1
    assert "intents[0]" in reading.heard.hints[0]
    assert not reading.heard.stops
    reading.hand_over(good(6))
    assert reading.heard.hints[1:] == ["flowing"]
    assert [(chunk.start, chunk.next) for chunk in reading.heard.chunks] == [(5, 6), (6, 7)]
