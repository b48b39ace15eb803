"""`callstream accounts` and `callstream batches` against a journal, and an owner who answers commands."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
import typer
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner, Result

from streams.cli.accounts import accounts_app
from streams.cli.batches import batches_app
from streams.contracts import command as commands
from streams.contracts.command import Command, Verb, decode_delivery
from streams.contracts.exits import ExitCode, OperatorError
from streams.contracts.journal import (
    AccountEntry,
    Attempt,
    BatchEntry,
    BatchState,
    CursorEntry,
    Entry,
    Held,
    JournalKey,
    Packer,
    Place,
    TokenEntry,
    TokensEntry,
    encode_entry,
)
from streams.contracts.parcel import Row
from streams.kafka.embedded import EmbeddedKafka
from streams.kafka.partitions import partition_of

# Each command reads a journal on a cluster of its own or of the module, a tenth of a second or more.
pytestmark = pytest.mark.slow

PARCELS, JOURNAL = "callstream.parcels.v1", "callstream.journal.v1"
PARTITIONS = 2
ALICE, BOB = "91c173bb-28d8-4030-9722-8663ff9589f3", "0a6e0b1c-6dd3-4f0e-9d9f-0d5a3a3b7c11"
CAROL = "5b1f6e0e-43d1-4b0c-9a51-0d8f0f9a7c11"
AT_MS = 1_763_780_000_000
FAR_MS = 4_000_000_000_000
ATTEMPTS = (Attempt(1, AT_MS, 0),)

STATES: dict[str, dict[str, Any]] = {
    "held": {"state": BatchState.AMBIGUOUS, "policy": "hold", "possible_duplicate": True, "sequence": 1},
    "retried": {"state": BatchState.AMBIGUOUS, "policy": "retry", "possible_duplicate": True},
    "throttled": {"state": BatchState.UNSENT, "policy": "retry", "possible_duplicate": True},
    "fresh": {"state": BatchState.UNSENT, "policy": "hold"},
    "running": {"state": BatchState.OPEN, "policy": "hold"},
    "taken": {"state": BatchState.ACCEPTED, "policy": "retry", "batch_id": "b-1", "accepted_at": AT_MS},
    "part": {"state": BatchState.UNSENT, "policy": "retry", "part_of": "whole", "part_requests": 2},
}


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    """A journal that nobody changes: Alice is paused and has a batch of each kind, Bob lags behind."""
    with EmbeddedKafka({PARCELS: PARTITIONS, JOURNAL: PARTITIONS}) as kafka:
        servers = kafka.bootstrap_servers
        for ref, content in STATES.items():
            write(servers, ALICE, *batch(ref, **content))
        write(servers, ALICE, (JournalKey("account", ALICE), AccountEntry(AT_MS, "ann@desk", "c-1")))
        tokens = TokensEntry((TokenEntry(0, AT_MS - 1000, "sealed-token"),), (AT_MS - 1000,), 1)
        write(
            servers,
            BOB,
            *batch("of-bob", BOB, **STATES["held"]),
            (JournalKey("cursor", BOB), CursorEntry(Place(7, 1), (), behind=True)),
            (JournalKey("tokens", BOB), tokens),
            (JournalKey("carry", f"{BOB}/1"), content_of_two()),
        )
        yield servers


@pytest.fixture(autouse=True)
def _two_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSTREAM_KAFKA__PARTITIONS", str(PARTITIONS))


def partition(account: str) -> int:
    return partition_of(account.encode(), PARTITIONS)


def write(servers: str, account: str, *entries: tuple[JournalKey, Entry | bytes]) -> None:
    producer = Producer({"bootstrap.servers": servers})
    for key, entry in entries:
        value = entry if isinstance(entry, bytes) else encode_entry(entry)
        producer.produce(JOURNAL, value, str(key).encode(), partition(account))
    assert producer.flush(10) == 0


def content_of_two() -> bytes:
    rows = [Row(n, f"intent-{n}", "918011111111", f"91900000000{n}", "label", AT_MS, FAR_MS + n) for n in range(2)]
    return Packer().pack([Held(Place(0, index), "intents", 3, row) for index, row in enumerate(rows)])


def batch(ref: str, account: str = ALICE, **content: Any) -> list[tuple[JournalKey, Entry | bytes]]:
    entry = BatchEntry(account, records=2, attempts=ATTEMPTS, **content)
    return [(JournalKey("intents", ref), content_of_two()), (JournalKey("batch", ref), entry)]


def run(app: typer.Typer, servers: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--bootstrap-servers", servers])


def done(app: typer.Typer, servers: str, *arguments: str) -> Any:
    """The JSON object of a command that went well."""
    ran = run(app, servers, *arguments, "--json")
    assert ran.exit_code == 0, (ran.output, ran.exception)
    return orjson.loads(ran.stdout)


def refusal(app: typer.Typer, servers: str, *arguments: str) -> tuple[ExitCode, str]:
    ran = run(app, servers, *arguments)
    assert isinstance(ran.exception, OperatorError), (ran.output, ran.exception)
    return ran.exception.exit_code, str(ran.exception)


@contextmanager
def owner(servers: str, result: str = "applied") -> Iterator[list[Command]]:
    """Answers commands as a worker would, without doing anything; gathers them."""
    seen: list[Command] = []
    over = threading.Event()
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "owner", "auto.offset.reset": "earliest"})
    places = [TopicPartition(PARCELS, number) for number in range(PARTITIONS)]
    consumer.assign([TopicPartition(p.topic, p.partition, consumer.get_watermark_offsets(p)[1]) for p in places])

    def serve() -> None:
        producer = Producer({"bootstrap.servers": servers, "linger.ms": 0})
        while not over.is_set():
            message = consumer.poll(0.05)
            if message is None or message.error():
                continue
            told = decode_delivery(message.value())
            assert isinstance(told, Command)
            assert message.partition() == partition(told.account_id)
            seen.append(told)
            key, value = told.answer(commands.Result.APPLIED)
            key = key.replace("applied", result)
            producer.produce(JOURNAL, value, key.encode(), partition(told.account_id))
            producer.flush(5)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        consumer.close()


# -- batches


def test_batches_are_listed_with_how_they_stand(servers: str) -> None:
    listed = done(batches_app, servers, "list", "--account", ALICE)["batches"]
    assert {each["batch_ref"]: each["state"] for each in listed} == {
        "held": "unresolved",
        "retried": "ambiguous",
        "throttled": "unsent",
        "fresh": "unsent",
        "running": "open",
        "taken": "accepted",
        "part": "suspect",
    }
    assert [each["part_of"] for each in listed if each["batch_ref"] == "part"] == ["whole"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["--state", "unresolved"], ["held", "of-bob"], id="state"),
        pytest.param(["--state", "unresolved", "--state", "open"], ["held", "of-bob", "running"], id="two states"),
        pytest.param(["--account", BOB], ["of-bob"], id="account"),
        pytest.param(["--account", BOB, "--state", "open"], [], id="both"),
    ],
)
def test_only_the_batches_that_were_asked_for(servers: str, arguments: list[str], expected: list[str]) -> None:
    listed = done(batches_app, servers, "list", *arguments)["batches"]
    assert [each["batch_ref"] for each in listed] == expected


def test_lines_and_details_name_no_phone_number(servers: str) -> None:
    listed, shown = run(batches_app, servers, "list"), run(batches_app, servers, "show", "held", "--json")
    lines = listed.stdout.splitlines()
    assert lines[1].split("  ")[:3] == ["held", ALICE, "unresolved"]
    intents = orjson.loads(shown.stdout)["intents"]
    assert [each["intent_id"] for each in intents] == ["intent-0", "intent-1"]
    assert "part of whole" in listed.stdout
    assert "whole, which the API refused as a whole" in run(batches_app, servers, "show", "part").stdout
    people = run(batches_app, servers, "show", "held").stdout
    assert "unresolved (policy hold)" in people
    assert "2 of 2 without a final outcome" in people
    assert "9190000" not in listed.stdout + shown.stdout + people


def test_a_batch_in_doubt_is_resolved(servers: str) -> None:
    with owner(servers) as seen:
        for options in (["--accepted", "b-7"], ["--resend"], ["--give-up"]):
            told = done(batches_app, servers, "resolve", "held", *options, "--yes", "--account", ALICE)
            assert told == {"batch_ref": "held", "verb": seen[-1].verb, "result": "applied"}
    assert [(each.account_id, each.verb, each.arguments) for each in seen] == [
        (ALICE, Verb.ACCEPT, {"batch_ref": "held", "batch_id": "b-7"}),
        (ALICE, Verb.RESEND, {"batch_ref": "held"}),
        (ALICE, Verb.GIVE_UP, {"batch_ref": "held"}),
    ]
    assert len({each.id for each in seen}) == 3
    assert "@" in seen[0].by


@pytest.mark.parametrize(
    ("ref", "option", "words"),
    [
        pytest.param("gone", "--give-up", "no batch gone is open", id="none"),
        pytest.param("running", "--give-up", "not in doubt but open: its answer is waited for", id="open"),
        pytest.param("taken", "--give-up", "not in doubt but accepted", id="accepted"),
        pytest.param("fresh", "--give-up", "was certainly not applied", id="never in doubt"),
        pytest.param("retried", "--resend", "is sent again by itself", id="resend under retry"),
        pytest.param("throttled", "--resend", "is sent again by itself", id="resend of what will be"),
    ],
)
def test_what_cannot_be_resolved_is_refused_before_anything_is_sent(
    servers: str, ref: str, option: str, words: str
) -> None:
    with owner(servers) as seen:
        code, text = refusal(batches_app, servers, "resolve", ref, option, "--yes")
    assert code is ExitCode.PRECONDITION
    assert words in text
    assert not seen


@pytest.mark.parametrize(
    "options",
    [[], ["--resend", "--give-up"], ["--accepted", "b", "--resend"], ["--accepted", "a/../b"]],
    ids=["none", "two", "two others", "unsafe batch id"],
)
def test_exactly_one_decision(servers: str, options: list[str]) -> None:
    assert run(batches_app, servers, "resolve", "held", *options, "--yes").exit_code == ExitCode.USAGE


def test_a_batch_that_moved_on_is_told(servers: str) -> None:
    with owner(servers, "not_in_doubt"):
        code, text = refusal(batches_app, servers, "resolve", "held", "--give-up", "--yes")
    assert code is ExitCode.PRECONDITION
    assert "moved on" in text


def test_without_a_yes_nothing_is_sent(servers: str) -> None:
    with owner(servers) as seen:
        ran = CliRunner().invoke(
            batches_app, ["resolve", "held", "--resend", "--bootstrap-servers", servers], input="n\n"
        )
    assert ran.exit_code == 1
    assert "may then be applied twice" in ran.stderr
    assert not seen


def test_a_command_that_nobody_applies_stays_queued(servers: str) -> None:
    code, text = refusal(batches_app, servers, "resolve", "held", "--give-up", "--yes", "--wait-s", "0.3")
    assert code is ExitCode.CRASH
    assert "is queued, but no worker has applied it within 0.3 s" in text
    told = done(batches_app, servers, "resolve", "held", "--give-up", "--yes", "--wait-s", "0")
    assert told["result"] == "queued"


# -- accounts


def test_an_account_is_paused_and_resumed(servers: str) -> None:
    with owner(servers) as seen:
        for verb in ("pause", "resume"):
            told = done(accounts_app, servers, verb, ALICE)
            assert told == {"account_id": ALICE, "verb": verb, "result": "applied"}
    assert [(each.account_id, each.verb) for each in seen] == [(ALICE, "pause"), (ALICE, "resume")]


@pytest.mark.parametrize("account", ["", "alice", ALICE.upper()])
def test_an_account_id_is_a_uuid(servers: str, account: str) -> None:
    assert run(accounts_app, servers, "pause", account).exit_code == ExitCode.USAGE


def test_an_account_that_the_settings_do_not_have_is_refused(servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = [{"id": BOB, "key_id": "k", "api_key": "s"}]
    monkeypatch.setenv("CALLSTREAM_ACCOUNTS", orjson.dumps(accounts).decode())
    assert run(accounts_app, servers, "pause", ALICE).exit_code == ExitCode.USAGE


def test_another_number_of_partitions_is_refused(servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSTREAM_KAFKA__PARTITIONS", "1")
    code, text = refusal(accounts_app, servers, "pause", ALICE)
    assert code is ExitCode.PRECONDITION
    assert f"{PARCELS} has 2 partitions, kafka.partitions is 1" in text
    assert "nothing was sent" in text


def test_accounts_are_shown_as_the_journal_has_them(servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = [{"id": BOB, "key_id": "k", "api_key": "hush", "limits": {"token_mints_per_30_min": 1}}]
    monkeypatch.setenv("CALLSTREAM_ACCOUNTS", orjson.dumps(accounts).decode())
    monkeypatch.setattr("streams.cli.accounts.now_ms", lambda: AT_MS)
    told = {each["account_id"]: each for each in done(accounts_app, servers, "show")["accounts"]}
    assert told[ALICE]["state"] == "paused"
    assert told[ALICE]["paused"] == {"at": AT_MS, "by": "ann@desk"}
    assert told[ALICE]["batches"] == {
        "unresolved": 1,
        "ambiguous": 1,
        "unsent": 2,
        "open": 1,
        "accepted": 1,
        "suspect": 1,
    }
    assert told[ALICE]["intents_in_batches"] == 14
    assert not told[ALICE]["configured"]
    assert told[BOB]["state"] == "behind"
    assert told[BOB]["intents_carried"] == 2
    assert told[BOB]["cursor"] == {"offset": 7, "behind": True}
    assert (told[BOB]["tokens"], told[BOB]["mints_30_min"], told[BOB]["next_mint_at"]) == (1, 1, AT_MS + 1_799_000)
    lines = run(accounts_app, servers, "show").stdout
    assert "carried: 2 intents" in lines
    assert "paused by ann@desk at 2025-11-22 02:53:20Z" in lines
    assert "sealed-token" not in lines
    assert "hush" not in lines


def test_an_account_of_which_nothing_is_known_runs(servers: str) -> None:
    (told,) = done(accounts_app, servers, "show", CAROL)["accounts"]
    assert (told["state"], told["batches"], told["tokens"], told["cursor"]) == ("running", {}, 0, None)


def test_a_journal_that_is_not_there_is_named(servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSTREAM_KAFKA__TOPICS__JOURNAL", "absent")
    code, text = refusal(batches_app, servers, "list")
    assert (code, "topic 'absent' does not exist" in text) == (ExitCode.PRECONDITION, True)
