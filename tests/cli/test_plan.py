"""`callstream plan`: intents in, what would happen out; nothing is sent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner, Result

from streams.cli import app
from streams.cli.plan_tables import lasting
from streams.contracts.exits import OperatorError
from streams.intake.reasons import VALUE_BYTES_MAX
from streams.kafka.embedded import CLIENT_PROPERTIES, EmbeddedKafka
from tests.plan.making import ACCOUNT, OTHER, START_MS, intent

CONFIG = f"""
api: {{base_url: "https://api.example"}}
accounts: [{{id: {ACCOUNT}, key_id: 6dab73bb-28d8-4030-9722-8663ff9589f3, api_key_file: /nowhere, statuses: none}}]
window: {{linger_ms: 100}}
"""
AT = ("--now", str(START_MS))


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("CALLSTREAM_CONFIG", raising=False)


def run(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(app, ["plan", "-", *arguments], input=stdin)


def told(*values: bytes, arguments: tuple[str, ...] = AT) -> dict[str, Any]:
    return dict(orjson.loads(run(*arguments, "--json", stdin=b"\n".join(values)).stdout))


def test_json_has_the_figures_and_nothing_else() -> None:
    found = told(*(intent(number) for number in range(600)))
    assert (found["read"], found["sent"], found["batches"]) == (600, 600, 2)
    assert found["requests"] == {"check": 2, "mint": 1, "post": 2}
    assert [linger["linger_ms"] for linger in found["lingers"]] == [50, 250, 1000]


def test_without_a_configuration_any_account_is_taken() -> None:
    assert told(intent(1), intent(2, account_id=OTHER))["sent"] == 2


def test_a_configuration_says_which_accounts_there_are_and_what_holds_for_them(tmp_path: Path) -> None:
    config = tmp_path / "callstream.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    found = told(intent(1), intent(2, account_id=OTHER), arguments=(*AT, "--config", str(config)))
    assert found["invalid"]["unknown_account"]["count"] == 1
    assert found["requests"] == {"mint": 1, "post": 1}
    assert [linger["linger_ms"] for linger in found["lingers"]] == [20, 100, 400]


def test_at_a_rate_they_arrive_one_after_the_other() -> None:
    found = told(*(intent(number) for number in range(5)), arguments=(*AT, "--rate", "0.1"))
    assert (found["last_arrival"] - found["first_arrival"], found["batches"]) == (40_000, 5)


def test_lingers_may_be_chosen() -> None:
    found = told(intent(1), arguments=(*AT, "--linger-ms", "2000", "--linger-ms", "0"))
    assert [linger["linger_ms"] for linger in found["lingers"]] == [0, 250, 2000]


def test_a_line_that_no_message_can_hold_is_one_invalid_intent() -> None:
    found = told(b"x" * (2 * VALUE_BYTES_MAX), b"", intent(1))
    assert (found["read"], found["sent"]) == (2, 1)
    assert found["invalid"]["too_large"]["first"] == "line 1"


def test_the_text_for_people_says_what_the_figures_say() -> None:
    result = run(*AT, stdin=b"\n".join([intent(1, priority="high"), intent(2, priority="low"), b"{"]))
    text = result.stdout
    assert text.startswith("1 of 3 would not be sent; the last leaves ")
    for expected in ("invalid: not_json", "first at line 3: the value is not JSON", ACCOUNT, "1 of 10", "250 ms"):
        assert expected in text
    assert not [line for line in text.splitlines() if line.startswith("normal")]
    assert "918011111111" not in text


@pytest.mark.parametrize(
    ("values", "code", "first"),
    [
        pytest.param((intent(1),), 0, "all would be sent", id="all"),
        pytest.param((intent(1), b"{"), 1, "1 of 2 would not be sent", id="one not"),
        pytest.param((), 0, "there are no intents", id="none"),
    ],
)
def test_the_exit_code_says_whether_all_would_be_sent(values: tuple[bytes, ...], code: int, first: str) -> None:
    result = run(*AT, stdin=b"\n".join(values))
    assert (result.exit_code, result.stdout.startswith(first)) == (code, True)


def test_old_intents_ask_for_another_time() -> None:
    assert "--now" in run("--now", str(START_MS + 48 * 3_600_000), stdin=intent(1)).stdout


def test_a_missing_file_ends_with_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["plan", str(tmp_path / "none.ndjson")])
    assert result.exit_code == 2
    assert "none.ndjson" in result.stderr


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "-"),
        (0.0, "0 ms"),
        (0.25, "250 ms"),
        (3.21, "3.2 s"),
        (119.96, "120.0 s"),
        (2500.0, "41 min 40 s"),
        (7_500.0, "2 h 5 min"),
    ],
)
def test_spans_are_told_as_people_say_them(seconds: float | None, expected: str) -> None:
    assert lasting(seconds) == expected


TOPIC = "calls.intents.v1"


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    """A Kafka whose intents came a second apart, in turn in two partitions; four of the first were routed."""
    with EmbeddedKafka({TOPIC: 2}) as kafka:
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        for number in range(20):
            at_ms = START_MS + 1000 * number
            value = b"{" if number == 13 else intent(number, at_ms=at_ms)
            producer.produce(TOPIC, value, partition=number % 2, timestamp=at_ms)
        assert producer.flush(10) == 0
        group = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "callstream"})
        group.commit(offsets=[TopicPartition(TOPIC, 0, 4)], asynchronous=False)
        group.close()
        yield kafka.bootstrap_servers


def of_topic(servers: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", "--bootstrap-servers", servers, *arguments])


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CLIENT_PROPERTIES.items():
        monkeypatch.setenv(f"CALLSTREAM_KAFKA__EXTRA__{name.upper().replace('.', '_')}", value)


@pytest.mark.usefixtures("mocked")
@pytest.mark.parametrize(
    ("arguments", "read", "sent", "lasted_ms"),
    [
        pytest.param([], 20, 19, 19_000, id="all, as they were recorded"),
        pytest.param(["--rate", "10", *AT], 20, 19, 1_900, id="all, faster"),
        pytest.param(["--offsets", "1:6-8"], 2, 1, 2_000, id="offsets"),
        pytest.param(["--backlog", *AT], 16, 15, 0, id="what was not routed"),
    ],
)
def test_intents_are_read_from_their_topic(
    servers: str, arguments: list[str], read: int, sent: int, lasted_ms: int
) -> None:
    found = orjson.loads(of_topic(servers, *arguments, "--json").stdout)
    assert (found["read"], found["sent"], found["last_arrival"] - found["first_arrival"]) == (read, sent, lasted_ms)
    assert found["invalid"] == {} or found["invalid"]["not_json"]["first"] == f"{TOPIC}[1] offset 6"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["-", "--backlog"], "--backlog", id="a backlog of a file"),
        pytest.param(["-", "--from", "-1h"], "--from", id="a range of a file"),
        pytest.param(["--backlog", "--from", "-1h"], "--backlog", id="a backlog from a time"),
        pytest.param(["--now", "1"], "--rate", id="another time for what was recorded"),
        pytest.param(["--from", "yesterday"], "'yesterday' is no time", id="no time"),
        pytest.param(["--from", "1700000000"], "1700000000 looks like seconds", id="seconds"),
        pytest.param(["--from", "-1h", "--to", "-2h"], "-2h is not after -1h", id="a range that ends first"),
        pytest.param(["--offsets", "0-10"], "'0-10' is no range of offsets", id="no offsets"),
        pytest.param(["--offsets", "0:10-5"], "'0:10-5' ends where it begins", id="offsets that end first"),
        pytest.param(["--offsets", "0:1-", "--offsets", "0:9-"], "partition 0 is given twice", id="a partition twice"),
        pytest.param(["--from", "-1h", "--offsets", "0:1-"], "--offsets", id="two ranges"),
    ],
)
def test_options_that_contradict_each_other_end_with_2(arguments: list[str], expected: str) -> None:
    result = CliRunner().invoke(app, ["plan", *arguments], input=b"")
    assert result.exit_code == 2
    assert expected in result.stderr


@pytest.mark.usefixtures("mocked")
def test_a_range_without_intents_says_what_the_topic_holds(servers: str) -> None:
    text = of_topic(servers, "--offsets", "0:10-").stdout
    assert "there are no intents" in text
    assert f"{TOPIC} is not empty, but has none in that range" in text


@pytest.mark.usefixtures("mocked")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["--offsets", "7:1-"], "has no partition 7", id="no such partition"),
        pytest.param(
            ["--bootstrap-servers", "127.0.0.1:1"], "kafka.bootstrap_servers", id="no Kafka", marks=pytest.mark.slow
        ),
    ],
)
def test_what_cannot_be_read_is_named_and_ends_with_3(servers: str, arguments: list[str], expected: str) -> None:
    result = of_topic(servers, *arguments)
    assert isinstance(result.exception, OperatorError)
    assert result.exception.exit_code == 3
    assert expected in str(result.exception)
