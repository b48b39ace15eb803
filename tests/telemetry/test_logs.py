"""One pipeline for our logs and the libraries': one line per event, masked, on standard error."""

import json
import logging
import logging.config
import os
import sys
import time
import warnings
from contextlib import suppress
from typing import Any

import pytest
import structlog
from mode.utils.logging import setup_logging

from streams.telemetry.logs import configure_logging, logging_config

NUMBER = "919876543210"


@pytest.fixture(autouse=True)
def _logging_as_before():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def events(capsys):
    def read() -> list[dict[str, Any]]:
        captured = capsys.readouterr()
        assert captured.out == ""
        return [json.loads(line) for line in captured.err.splitlines()]

    return read


def test_an_event_of_ours_is_one_json_line(events):
    configure_logging("json")

    structlog.stdlib.get_logger("streams.worker").info("batch_accepted", records=500, offset=12345678901, note=NUMBER)

    (event,) = events()
    assert list(event)[:4] == ["timestamp", "level", "event", "logger"]
    assert event | {"timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "event": "batch_accepted",
        "logger": "streams.worker",
        "records": 500,
        "offset": 12345678901,
        "note": "[digits]",
    }
    assert event["timestamp"].endswith("Z")


def test_libraries_take_the_same_way(events):
    configure_logging("json")

    logging.getLogger("faust.worker").warning("caller %s at offset %d", NUMBER, 123456789)
    logging.getLogger("streams.kafka").warning("text", extra={"caller": NUMBER, "batch": 7})

    first, second = events()
    assert first["event"] == "caller [digits] at offset 123456789"
    assert (second["caller"], second["batch"]) == ("[digits]", 7)


def test_exceptions_are_text_without_numbers_and_on_the_same_line(events):
    configure_logging("json")
    try:
        _fail()
    except RuntimeError:
        structlog.stdlib.get_logger("streams").exception("crashed")
        logging.getLogger("mode").exception("crashed %s", NUMBER)

    ours, theirs = events()
    for event in (ours, theirs):
        assert "RuntimeError: Bearer [secret] for [digits]" in event["exception"]
        assert NUMBER not in json.dumps(event)


def _fail() -> None:
    try:
        int(f"x{NUMBER}")
    except ValueError as error:
        raise RuntimeError(f"Bearer hunter2 for +{NUMBER}") from error


@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_text_from_outside_cannot_forge_an_event(capsys, format_):
    configure_logging(format_)

    structlog.stdlib.get_logger("streams").info("refused", text='x\n{"event": "forged"}\x1b[2J\r\x85')
    logging.getLogger("other").warning("x\nforged\x1b[2J")

    captured = capsys.readouterr().err
    assert len(captured.splitlines()) == 2
    assert "\x1b[2J" not in captured


@pytest.mark.parametrize("value", ["\ud800", 2**70, {1: 2}, object])
def test_an_odd_value_does_not_lose_the_event(events, value):
    configure_logging("json")

    structlog.stdlib.get_logger("streams").info("odd", value=value)

    assert events()[0]["event"] == "odd"


def test_requests_of_the_http_client_are_not_logged_one_by_one(events):
    configure_logging("json")

    logging.getLogger("httpx").info("HTTP Request: GET https://api.example")
    logging.getLogger("httpcore.connection").info("connect_tcp.started")

    assert events() == []


def test_the_level_holds(events):
    configure_logging("json", "warning")

    structlog.stdlib.get_logger("streams").info("not_this")
    structlog.stdlib.get_logger("streams").warning("this")

    assert [event["event"] for event in events()] == ["this"]


def test_warnings_are_logged(events):
    configure_logging("json")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"old {NUMBER}", stacklevel=1)

    (event,) = events()
    assert (event["logger"], event["level"]) == ("py.warnings", "warning")
    assert NUMBER not in event["event"]


def test_the_console_is_for_people(capsys):
    configure_logging("console")

    structlog.stdlib.get_logger("streams").info("batch_accepted", records=500)

    captured = capsys.readouterr().err
    assert "[info     ] batch_accepted" in captured
    assert "records=500" in captured


def test_auto_is_json_where_nobody_watches(events):
    configure_logging("auto")

    structlog.stdlib.get_logger("streams").info("started")

    assert events()[0]["event"] == "started"


def test_fausts_worker_keeps_the_pipeline(events):
    configure_logging("json")

    setup_logging(loglevel="INFO", logging_config=logging_config("json"))
    logging.getLogger("faust.app").info("[^--Conductor]: Starting...")
    logging.getLogger("faust.app").warning("not ready for %s", NUMBER)

    (event,) = events()
    assert event["event"] == "not ready for [digits]"


class Pipe:
    """Standard error as a pipe that is read only when the test says so."""

    def __init__(self, monkeypatch):
        self._reading, writing = os.pipe()
        os.set_blocking(self._reading, False)
        self.stderr = os.fdopen(writing, "w", buffering=1)
        self._monkeypatch = monkeypatch

    def become_stderr(self) -> None:
        """To be called by the test itself: pytest sets its own for each phase of a test."""
        self._monkeypatch.setattr(sys, "stderr", self.stderr)

    def read(self) -> bytes:
        read = b""
        with suppress(BlockingIOError):
            while True:
                read += os.read(self._reading, 1 << 20)
        return read

    def close(self) -> None:
        self.stderr.close()
        os.close(self._reading)


@pytest.fixture
def pipe(monkeypatch):
    made = Pipe(monkeypatch)
    yield made
    made.close()


@pytest.mark.faults("F92")
def test_a_pipe_that_nobody_reads_costs_lines_and_no_time(pipe):
    pipe.become_stderr()
    configure_logging("json")
    log = structlog.stdlib.get_logger("streams.worker")
    began_s = time.monotonic()
    for number in range(3000):
        log.info("batch_accepted", number=number, text="x" * 100)
    assert time.monotonic() - began_s < 10, "a line that waits costs 0.2 s, and only the first one waits"
    kept = [json.loads(line) for line in pipe.read().splitlines()]
    assert [event["number"] for event in kept] == list(range(len(kept)))

    log.info("read_again")

    dropped, again = (json.loads(line) for line in pipe.read().splitlines())
    assert (dropped["event"], dropped["dropped"]) == ("log_lines_dropped", 3000 - len(kept))
    assert again["event"] == "read_again"


@pytest.mark.faults("F92")
def test_a_line_that_was_torn_does_not_run_into_the_next(pipe):
    pipe.become_stderr()
    configure_logging("json")
    log = structlog.stdlib.get_logger("streams.worker")
    log.info("long", **{f"field_{number}": "x" * 1000 for number in range(200)})
    torn = pipe.read()
    assert b"\n" not in torn
    log.info("read_again")
    rest, *events = pipe.read().splitlines()
    assert rest == b""
    assert [json.loads(line)["event"] for line in events] == ["log_lines_dropped", "read_again"]


def test_a_reader_that_went_away_ends_nothing(pipe):
    pipe.become_stderr()
    configure_logging("json")
    os.close(pipe._reading)
    structlog.stdlib.get_logger("streams.worker").info("nobody_hears")
    pipe._reading = os.open(os.devnull, os.O_RDONLY)
