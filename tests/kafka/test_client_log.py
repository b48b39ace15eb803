"""What the client library says comes out of our logging, and not more of it than anybody reads."""

import logging
import re

import pytest
from confluent_kafka import Consumer, Producer

from streams.kafka import client_config
from streams.kafka.client_log import CLIENT_LOG, EVERY_S, KINDS_MAX, Sparing

NOBODY = client_config.KafkaOptions("127.0.0.1:1", "group", "worker-0")

AWAY = "FAIL [g.w#producer-%d] [thrd:10.0.0.%d:9092/%d]: Connect to ipv4#10.0.0.%d:9092 failed: refused (after %dms%s)"
MORE = ", 3 identical error(s) suppressed"


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def write(clock):
    sparing = Sparing(clock)

    def write(text, *arguments):
        record = logging.LogRecord("client", logging.ERROR, "", 0, text, arguments, None)
        return record.getMessage() if sparing.filter(record) else None

    return write


def test_lines_that_differ_in_numbers_and_names_are_one_kind(write, clock):
    assert write(AWAY, 0, 0, 0, 0, 0, "")
    assert not any(write(AWAY, number, number, number, number, number, MORE) for number in range(1, 5))
    clock.now_s += EVERY_S
    assert write(AWAY, 9, 9, 9, 9, 9, "").endswith("(and 4 more like it)")


def test_another_kind_is_written_at_once(write):
    assert write("FAIL [g.w#producer-1] refused")
    assert write("FAIL [g.w#producer-1] timed out")


def test_kinds_are_not_remembered_without_end(write):
    kinds = [f"kind {'x' * number}" for number in range(KINDS_MAX + 1)]
    assert all(write(kind) for kind in [*kinds, kinds[0]])


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Producer(client_config.producer_config(NOBODY, "group.lanes.worker-0")), id="producer"),
        pytest.param(lambda: Consumer(client_config.consumer_config(NOBODY, "classic")), id="consumer"),
        pytest.param(lambda: Consumer(client_config.reader_config(NOBODY)), id="reader"),
    ],
)
def test_a_client_that_cannot_connect_says_so_in_our_log_only(make, monkeypatch, caplog, capfd):
    monkeypatch.setattr(CLIENT_LOG, "filters", [])  # another test's client may have said the same just now
    client = make()
    while not caplog.records:
        client.poll(0.1)
    assert "Connect" in caplog.text
    assert not re.search(r"%\d\|", capfd.readouterr().err), "a line in the library's own format"
    if isinstance(client, Consumer):
        client.close()
