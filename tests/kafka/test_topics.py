"""`callstream topics`: creates what is missing, changes nothing that is there, and names each problem's remedy."""

import time
import uuid

import orjson
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from typer.testing import CliRunner

from streams.cli.topics import topics_app
from streams.kafka.topics import Problem, Wanted, check, topic_specs

NAMES = ("intents", "outcomes", "dead_letters", "parcels", "journal", "requests")


@pytest.mark.parametrize(
    ("wanted", "found", "accepted"),
    [
        (Wanted("delete"), "delete", True),
        (Wanted("delete"), "compact,delete", False),
        (Wanted("100", "at_least"), "100", True),
        (Wanted("100", "at_least"), "99", False),
        (Wanted("100", "at_least"), "-1", True),
        (Wanted("0.1", "at_most"), "0.05", True),
        (Wanted("0.1", "at_most"), "0.5", False),
        (Wanted("100", "at_most"), "-1", False),
        (Wanted("100", "at_least"), None, False),
    ],
)
def test_values_that_keep_the_promise_are_accepted(wanted, found, accepted):
    assert wanted.accepts(found) is accepted


def test_a_problem_reads_as_one_line():
    assert str(Problem("t", "does not exist", "run it")) == "t: does not exist; run it"


@pytest.fixture
def names():
    prefix = uuid.uuid4().hex[:8]
    return {name: f"{prefix}.{name}" for name in NAMES}


@pytest.fixture
def run(bootstrap, names, monkeypatch):
    monkeypatch.setenv("CALLSTREAM_KAFKA__BOOTSTRAP_SERVERS", bootstrap)
    for name, topic in names.items():
        monkeypatch.setenv(f"CALLSTREAM_KAFKA__TOPICS__{name.upper()}", topic)

    def invoke(*words, partitions=3):
        monkeypatch.setenv("CALLSTREAM_KAFKA__PARTITIONS", str(partitions))
        return CliRunner().invoke(topics_app, list(words))

    return invoke


@pytest.mark.kafka
def test_apply_creates_what_is_missing_and_is_idempotent(run, names, bootstrap):
    before = run("check")
    assert before.exit_code == 3
    assert before.stdout.splitlines() == [
        f"problem  {name}: does not exist; run `callstream topics apply`" for name in names.values()
    ]
    first = run("apply")
    assert (first.exit_code, first.stdout.splitlines()) == (0, [f"created  {name}" for name in names.values()])
    again = run("apply", "--json")
    assert again.exit_code == 0
    assert orjson.loads(again.stdout) == {"ok": True, "created": [], "problems": []}
    assert run("check").exit_code == 0
    assert check(AdminClient({"bootstrap.servers": bootstrap}), topic_specs(**names, partitions=3)) == []


@pytest.mark.kafka
def test_differences_are_reported_and_never_mended(run, names, bootstrap, monkeypatch):
    assert run("apply").exit_code == 0
    admin = AdminClient({"bootstrap.servers": bootstrap})
    changed = {
        "parcels": {"retention.ms": "3600000"},
        "journal": {"cleanup.policy": "delete", "min.cleanable.dirty.ratio": "0.05"},
        "requests": {"retention.ms": "-1"},
    }
    for name, config in changed.items():
        alter(admin, names[name], config)
    result = run("apply", "--json", partitions=4)
    assert result.exit_code == 3
    report = orjson.loads(result.stdout)
    assert (report["ok"], report["created"]) == (False, [])
    assert [(each["topic"], each["problem"]) for each in report["problems"]] == [
        (names["parcels"], "has 3 partitions, kafka.partitions is 4"),
        (names["parcels"], "retention.ms is 3600000, needed is at least 345600000"),
        (names["journal"], "has 3 partitions, kafka.partitions is 4"),
        (names["journal"], "cleanup.policy is delete, needed is compact"),
    ]
    assert "--add-config retention.ms=345600000" in report["problems"][1]["remedy"]
    assert len(run("check").stdout.splitlines()) == len(NAMES)


def alter(admin, topic, config):
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    admin.incremental_alter_configs([resource])[resource].result(10)
    # The controller answers before the broker knows.
    deadline = time.monotonic() + 10
    while True:
        found = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)])
        values = next(iter(found.values())).result(10)
        if all(values[name].value == value for name, value in config.items()):
            return
        assert time.monotonic() < deadline


@pytest.mark.kafka
def test_a_topic_without_its_partitions_number_in_the_settings_may_have_any(run, names, new_topic, monkeypatch):
    intents = new_topic(7)
    monkeypatch.setenv("CALLSTREAM_KAFKA__TOPICS__INTENTS", intents)
    result = run("apply")
    assert result.exit_code == 0
    assert f"ok       {intents}" in result.stdout


def test_an_unreachable_kafka_is_one_line_with_the_address(monkeypatch):
    monkeypatch.setattr("streams.kafka.topics._TIMEOUT_S", 0.3)
    result = CliRunner().invoke(topics_app, ["check", "--bootstrap-servers", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert "127.0.0.1:1 (kafka.bootstrap_servers)" in str(result.exception)
    assert result.stdout == ""
