"""`callstream outcomes tail`: what it shows, in which form, where it starts and how it ends."""

import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import orjson
import pytest
from confluent_kafka import Message, Producer
from typer.testing import CliRunner, Result

from streams.cli.kafka import TopicNotThere
from streams.cli.outcome_line import outcome_line
from streams.cli.outcomes import Shown, Wanted, outcomes_app
from streams.contracts.outcome import (
    BatchFacts,
    OutcomeFacts,
    Reason,
    Source,
    Status,
    encode_batch_event,
    encode_intent_outcome,
)
from streams.kafka.embedded import EmbeddedKafka

OUTCOMES = "calls.outcomes.v1"
ALICE, BOB = "91c173bb-28d8-4030-9722-8663ff9589f3", "0a6e0b1c-6dd3-4f0e-9d9f-0d5a3a3b7c11"
AT_MS = 1_763_780_000_123


def outcome(number: int, status: Status, account: str = ALICE, **more: Any) -> bytes:
    facts = OutcomeFacts(f"intent-{number}", account, status, Source("calls.intents.v1", 3, number), **more)
    return encode_intent_outcome(facts, AT_MS + number)


BATCH = encode_batch_event(
    BatchFacts("completed", ALICE, "ref", "b-1", 3, {Status.DELIVERED: 2, Status.FAILED: 1}), AT_MS
)
MESSAGES = [
    outcome(0, Status.ACCEPTED, batch_id="b-1"),
    outcome(1, Status.INVALID, BOB, reason=Reason("phone_format", "the receiver is no phone number")),
    outcome(0, Status.DELIVERED, sequence=1),
    BATCH,
    outcome(2, Status.FAILED, BOB, possible_duplicate=True),
]


@pytest.fixture
def servers() -> Iterator[str]:
    with EmbeddedKafka({OUTCOMES: 1}) as kafka:
        yield kafka.bootstrap_servers


def write(servers: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": servers})
    for value in values:
        producer.produce(OUTCOMES, value)
    assert producer.flush(10) == 0


def tail(servers: str, *arguments: str) -> Result:
    done = CliRunner().invoke(
        outcomes_app, ["tail", "--bootstrap-servers", servers, "--from-beginning", "--until-idle-s", "0.5", *arguments]
    )
    assert done.exit_code == 0, done.output
    return done


def test_json_is_every_message_as_it_is(servers: str) -> None:
    write(servers, MESSAGES)
    assert tail(servers, "--json").stdout_bytes == b"".join(message + b"\n" for message in MESSAGES)


class Read:
    """A message as a consumer gets it."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def value(self) -> bytes:
        return self._value


EVERYTHING: dict[str, Any] = {"accounts": frozenset(), "statuses": frozenset()}


@pytest.mark.parametrize(
    ("wanted", "limit", "expected"),
    [
        pytest.param({}, None, [0, 1, 2, 3, 4], id="everything"),
        pytest.param({"accounts": {BOB}}, None, [1, 4], id="account"),
        pytest.param({"accounts": {BOB, ALICE}}, None, [0, 1, 2, 3, 4], id="two accounts"),
        pytest.param({"statuses": {"delivered"}}, None, [2], id="status"),
        pytest.param({"statuses": {"delivered", "failed"}}, None, [2, 4], id="two statuses"),
        pytest.param({"statuses": {"failed"}, "accounts": {ALICE}}, None, [], id="both"),
        pytest.param({}, 3, [0, 1, 2], id="limit"),
        pytest.param({"statuses": {"failed"}}, 1, [4], id="limit counts what is shown"),
    ],
)
def test_only_what_is_wanted(
    capfdbinary: pytest.CaptureFixture[bytes], wanted: dict[str, Any], limit: int | None, expected: list[int]
) -> None:
    shown = Shown(as_json=True, limit=limit)
    messages = cast("list[Message]", [Read(value) for value in MESSAGES])
    more = [shown.show(half, Wanted(**EVERYTHING | wanted)) for half in (messages[:2], messages[2:])]
    assert capfdbinary.readouterr().out.splitlines() == [MESSAGES[number] for number in expected]
    assert more[-1] is (limit is None)


def test_options_say_what_is_wanted(servers: str) -> None:
    write(servers, MESSAGES)
    done = tail(servers, "--json", "--limit", "1", "--account", ALICE, "--account", BOB, "--status", "failed")
    assert done.stdout_bytes == MESSAGES[4] + b"\n"


def test_lines_for_people_have_columns_and_no_colour_in_a_pipe(servers: str) -> None:
    write(servers, MESSAGES)
    lines = tail(servers).stdout.splitlines()
    assert lines[0] == "02:53:20.123  accepted    91c173bb  intent-0              3@0         batch b-1"
    assert "invalid     0a6e0b1c  intent-1              3@1         phone_format: the receiver is no phone" in lines[1]
    assert "batch       91c173bb  completed             3           2 delivered, 1 failed  batch b-1" in lines[3]
    assert lines[4].endswith("(possible duplicate)")
    assert "\x1b" not in "".join(lines)


def test_what_is_no_json_object_is_counted_not_shown(servers: str) -> None:
    write(servers, [b"not json", b"[1]", MESSAGES[0]])
    done = tail(servers, "--json")
    assert done.stdout_bytes == MESSAGES[0] + b"\n"
    assert "2 messages" in done.stderr


def test_a_message_cannot_steer_the_terminal() -> None:
    event = {"status": "delivered", "intent_id": "\x1b]0;owned\x07\n", "account_id": None}
    line = outcome_line(event, color=False)
    assert line.isprintable()
    assert outcome_line(event, color=True).count("\x1b") == 6


def test_a_colour_tells_good_from_bad() -> None:
    good, bad = (
        outcome_line(orjson.loads(outcome(0, status)), color=True) for status in (Status.DELIVERED, Status.FAILED)
    )
    assert "\x1b[32mdelivered" in good
    assert "\x1b[31mfailed" in bad


def test_a_missing_topic_is_a_precondition() -> None:
    with EmbeddedKafka({"another": 1}) as kafka:
        done = CliRunner().invoke(outcomes_app, ["tail", "--bootstrap-servers", kafka.bootstrap_servers])
    assert isinstance(done.exception, TopicNotThere)
    assert OUTCOMES in str(done.exception)


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], ids=["ctrl_c", "sigterm"])
def test_from_the_end_shows_only_what_comes_until_a_signal(servers: str, sent: signal.Signals, code: int) -> None:
    write(servers, [MESSAGES[0]])
    program = "from streams.cli.outcomes import outcomes_app; outcomes_app()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "tail", "--bootstrap-servers", servers, "--json"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        # It starts at the end, wherever that is by then: so it is told the same until it has heard it once.
        while True:
            write(servers, [MESSAGES[2]])
            if has_output(process):
                break
        assert process.stdout.readline() == MESSAGES[2] + b"\n"
        process.send_signal(sent)
        process.stdout.read()
        assert process.wait(20) == code


def has_output(process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None
    assert process.stdout
    return bool(select.select([process.stdout], [], [], 0.1)[0])


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_it_quietly(servers: str) -> None:
    write(servers, MESSAGES * 2000)
    program = "from streams.cli.outcomes import outcomes_app; outcomes_app()"
    arguments = ("tail", "--bootstrap-servers", servers, "--from-beginning", "--json")
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == MESSAGES[0] + b"\n"
        process.stdout.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""


@pytest.mark.kafka
def test_what_was_aborted_is_not_shown(bootstrap, new_topic, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = new_topic(2, name="outcomes")
    monkeypatch.setenv("CALLSTREAM_KAFKA__TOPICS__OUTCOMES", topic)
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic})
    producer.init_transactions(20)
    for number, end in enumerate(
        (producer.commit_transaction, producer.abort_transaction, producer.commit_transaction)
    ):
        producer.begin_transaction()
        producer.produce(topic, MESSAGES[number])
        assert producer.flush(20) == 0
        end(20)
    shown = tail(bootstrap, "--json", "--limit", "2", "--until-idle-s", "20").stdout_bytes.splitlines()
    assert sorted(shown) == sorted([MESSAGES[0], MESSAGES[2]])
