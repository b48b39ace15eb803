"""`callstream publish` against a Kafka: what arrives, what is counted, how it ends."""

import io
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from streams.cli.kafka import KafkaRefused, TopicNotThere
from streams.cli.publish import publish
from streams.kafka.client_config import KafkaOptions, reader_config
from streams.kafka.embedded import EmbeddedKafka
from streams.kafka.follow import Follower
from streams.sandbox.accounts import synthetic_accounts
from streams.sandbox.publisher import Publisher

INTENTS = "calls.intents.v1"


@pytest.fixture
def servers() -> Iterator[str]:
    with EmbeddedKafka({INTENTS: 4, "other": 1}) as kafka:
        yield kafka.bootstrap_servers


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(publish)
    return app


def run(app: typer.Typer, *arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def arrived(servers: str, count: int, topic: str = INTENTS) -> list[bytes]:
    values: list[bytes] = []
    with Follower(reader_config(KafkaOptions(servers, "test", "test")), [topic], from_beginning=True) as follower:
        while len(values) < count:
            values += [message.value() or b"" for message in follower.read()]
    return values


def test_made_up_intents_arrive_and_are_counted(app: typer.Typer, servers: str) -> None:
    done = run(app, "--bootstrap-servers", servers, "--count", "500", "--accounts", "3", "--seed", "7", "--json")
    assert done.exit_code == 0, done.output
    summary = orjson.loads(done.stdout)
    assert (summary["published"], summary["failed"], summary["interrupted"]) == (500, 0, False)
    intents = [read(value) for value in arrived(servers, 500)]
    owners = Counter(intent["account_id"] for intent in intents if "account_id" in intent)
    assert {account.id for account in synthetic_accounts(3, seed=7)} <= set(owners)
    assert sum(owners.values()) >= 500 - summary["bad"].get("not_json", 0)


def read(value: bytes) -> dict[str, Any]:
    try:
        intent: dict[str, Any] = orjson.loads(value)
    except orjson.JSONDecodeError:
        return {}
    return intent


def test_the_summary_is_one_line_for_people(app: typer.Typer, servers: str) -> None:
    done = run(app, "--bootstrap-servers", servers, "--count", "100", "--bad-share", "1")
    assert done.exit_code == 0, done.output
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"published 100 intents to {INTENTS} in ")
    assert line.endswith(", 100 of them bad on purpose")


@pytest.mark.slow
def test_the_accounts_of_the_settings_are_the_accounts_of_the_intents(
    app: typer.Typer, servers: str, tmp_path: Path
) -> None:
    printed = run(app, "--print-accounts", "--accounts", "4", "--seed", "9").stdout
    config = tmp_path / "callstream.yaml"
    config.write_text(f"kafka: {{bootstrap_servers: '{servers}'}}\napi: {{base_url: 'http://127.0.0.1:1'}}\n{printed}")
    configured = [account["id"] for account in yaml.safe_load(printed)["accounts"]]
    assert configured == [account.id for account in synthetic_accounts(4, seed=9)]

    for options, expected in (((), configured), (("--accounts", "2"), configured[:2])):
        topic = "other" if options else INTENTS
        done = run(app, "--config", str(config), "--count", "200", "--bad-share", "0", "--topic", topic, *options)
        assert done.exit_code == 0, done.output
        assert {read(value)["account_id"] for value in arrived(servers, 200, topic)} == set(expected)

    refused = run(app, "--config", str(config), "--accounts", "5")
    assert refused.exit_code == 2
    assert "have only 4" in refused.output


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_lines_arrive_byte_for_byte(app: typer.Typer, servers: str, tmp_path: Path, source: str) -> None:
    lines = [b'{"a": 1}', b' {"b":\t2} ', b"\xff not json", b'{"c": 3}\r', b'{"last": true}']
    content = b"\n\n".join(lines)
    file = tmp_path / "intents.ndjson"
    file.write_bytes(content)
    path = "-" if source == "stdin" else str(file)
    done = run(app, "--bootstrap-servers", servers, "--file", path, "--json", stdin=content)
    assert done.exit_code == 0, done.output
    assert orjson.loads(done.stdout)["published"] == len(lines)
    assert sorted(arrived(servers, len(lines))) == sorted(lines)


def test_count_bounds_a_file(app: typer.Typer, servers: str, tmp_path: Path) -> None:
    file = tmp_path / "intents.ndjson"
    file.write_bytes(b"1\n2\n3\n")
    done = run(app, "--bootstrap-servers", servers, "--file", str(file), "--count", "2")
    assert done.exit_code == 0, done.output
    assert sorted(arrived(servers, 2)) == [b"1", b"2"]


def test_a_rate_is_kept(app: typer.Typer, servers: str) -> None:
    done = run(app, "--bootstrap-servers", servers, "--count", "100", "--rate", "200", "--json")
    assert done.exit_code == 0, done.output
    assert 0.4 <= orjson.loads(done.stdout)["seconds"] < 5


def test_a_missing_topic_is_a_precondition_and_is_not_created(app: typer.Typer, servers: str) -> None:
    for _ in range(2):
        done = run(app, "--bootstrap-servers", servers, "--topic", "absent")
        assert isinstance(done.exception, TopicNotThere)
        assert done.exception.exit_code == 3
        assert str(done.exception).startswith("topic 'absent' does not exist; `callstream topics apply`")


def test_an_unreachable_kafka_is_named(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka.follow._LOOKUP_S", 0.2)
    done = run(app, "--bootstrap-servers", "127.0.0.1:1")
    assert isinstance(done.exception, KafkaRefused)
    assert done.exception.exit_code == 1
    assert "127.0.0.1:1 (kafka.bootstrap_servers)" in str(done.exception)


def test_a_wrong_setting_is_an_error_of_settings(app: typer.Typer, tmp_path: Path) -> None:
    config = tmp_path / "callstream.yaml"
    config.write_text("kafka: {bootstrap_server: 'x:1'}\n")
    done = run(app, "--config", str(config))
    assert "kafka.bootstrap_server" in str(done.exception)


def test_what_nobody_acknowledged_is_counted_too() -> None:
    with EmbeddedKafka({INTENTS: 4}) as kafka:
        publisher = Publisher(KafkaOptions(kafka.bootstrap_servers, "test", "test"), INTENTS)
        publisher.send(b"good")
        publisher.close()
    publisher.send(b"late")
    publisher.close(timeout_s=0.1)
    assert (publisher.delivered, publisher.failed) == (1, {"unfinished": 1})


def test_a_message_that_the_client_refuses_is_counted(app: typer.Typer, servers: str, tmp_path: Path) -> None:
    file = tmp_path / "intents.ndjson"
    file.write_bytes(b"1\n" + b"x" * 1_100_000 + b"\n3\n")
    done = run(app, "--bootstrap-servers", servers, "--file", str(file), "--json")
    assert done.exit_code == 1, done.output
    summary = orjson.loads(done.stdout)
    assert (summary["published"], summary["failed"], summary["errors"]) == (2, 1, {"MSG_SIZE_TOO_LARGE": 1})


@pytest.mark.slow
def test_ctrl_c_ends_it_with_what_was_published(servers: str) -> None:
    program = "import typer; from streams.cli.publish import publish; typer.run(publish)"
    arguments = ("--bootstrap-servers", servers, "--file", "-", "--json")
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"one\ntwo\n")
        process.stdin.flush()
        assert sorted(arrived(servers, 2)) == [b"one", b"two"]
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        summary = orjson.loads(process.stdout.read())
        assert process.wait(20) == 130
    assert (summary["published"], summary["interrupted"]) == (2, True)


def test_progress_is_drawn_on_a_terminal_only(app: typer.Typer, servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = io.StringIO()
    monkeypatch.setattr("streams.cli.publish.Console", lambda **_: Terminal(drawn))
    done = run(app, "--bootstrap-servers", servers, "--count", "10")
    assert done.exit_code == 0, done.output
    assert "10/10" in drawn.getvalue()


class Terminal:
    """A console that believes to be a terminal."""

    def __new__(cls, drawn: io.StringIO) -> Any:
        from rich.console import Console

        return Console(file=drawn, force_terminal=True, width=100)


@pytest.mark.kafka
def test_a_real_kafka_takes_each_intent_once(app: typer.Typer, bootstrap, new_topic, read_committed) -> None:
    topic = new_topic(3, name="intents")
    done = run(app, "--bootstrap-servers", bootstrap, "--topic", topic, "--count", "5000", "--bad-share", "0")
    assert done.exit_code == 0, done.output
    messages = read_committed(topic)
    assert len({read(message.value())["intent_id"] for message in messages}) == len(messages) == 5000
    assert len({message.partition() for message in messages}) == 3
