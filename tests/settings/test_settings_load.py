"""Settings: where they come from, and what is said when they are wrong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from streams.contracts.kafka_properties import PROMISES
from streams.settings import ConfigError, Settings, load_settings
from streams.settings.docs import reference
from streams.settings.tree import file_schema, leaves

ROOT = Path(__file__).parents[2]
ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"
OTHER = "0b0e7c1e-2f43-4f7c-9a54-1d2f3a4b5c6d"
MINIMAL: dict[str, Any] = {
    "api": {"base_url": "https://api.example"},
    "accounts": [{"id": ACCOUNT, "key_id": "k", "api_key": "s"}],
}
SECRET = "hunter2-9f8e7d6c"


@pytest.fixture
def write(tmp_path: Path):
    def write_yaml(tree: dict[str, Any] | str) -> Path:
        path = tmp_path / "callstream.yaml"
        path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree), encoding="utf-8")
        return path

    return write_yaml


def merged(**changes: Any) -> dict[str, Any]:
    """MINIMAL with dotted settings changed; ``kafka__extra`` stands for ``kafka.extra``."""
    tree: dict[str, Any] = json.loads(json.dumps(MINIMAL))
    for path, value in changes.items():
        node = tree
        *sections, name = path.split("__")
        for section in sections:
            node = node["accounts"][0] if section == "account" else node.setdefault(section, {})
        node[name] = value
    return tree


def problems_of(path: Path | None, environ: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as raised:
        load_settings(path, environ or {})
    return raised.value.problems


def test_defaults_are_those_that_are_promised(write):
    settings = load_settings(write(MINIMAL), {})

    assert settings.kafka.bootstrap_servers == "127.0.0.1:9092"
    assert settings.kafka.group_id == "callstream"
    assert settings.kafka.partitions == 12
    assert settings.kafka.topics.dead_letters == "calls.intents.dead-letters.v1"
    assert settings.api.submit_version == "v1"
    assert settings.api.status_version == "v2"
    assert settings.window.records_max == 500
    assert settings.window.linger_ms == 250
    assert settings.priority_offsets_s.model_dump() == {"high": 0, "normal": 30, "low": 300}
    assert settings.retry.not_applied_statuses == (429,)
    assert settings.lane.model_dump() == {
        "intents_max": 100_000,
        "in_flight_max_per_token": 2,
        "open_batches_max": 1200,
    }
    assert settings.worker_intents_max == 400_000
    assert (settings.statuses, settings.labels, settings.outcomes.level) == ("all", "off", "both")
    assert (settings.metrics.host, settings.metrics.port) == ("0.0.0.0", 9464)


def test_environment_wins_over_file_wins_over_defaults(write):
    path = write(merged(kafka__group_id="from-file", window__linger_ms=5))

    settings = load_settings(None, {"CALLSTREAM_CONFIG": str(path), "CALLSTREAM_KAFKA__GROUP_ID": "from-env"})

    assert settings.kafka.group_id == "from-env"
    assert settings.window.linger_ms == 5
    assert settings.window.records_max == 500


def test_everything_can_be_set_by_environment_alone():
    settings = load_settings(
        None,
        {
            "CALLSTREAM_API__BASE_URL": "https://api.example/",
            "CALLSTREAM_ACCOUNTS": json.dumps(MINIMAL["accounts"]),
            "CALLSTREAM_RETRY__NOT_APPLIED_STATUSES": "[429, 503]",
            "CALLSTREAM_DEFAULT_ACCOUNT": "null",
            "CALLSTREAM_WINDOW__LINGER_MS": "",
            "CALLSTREAM_KAFKA__EXTRA__SASL_PASSWORD": SECRET,
        },
    )

    assert settings.api.base_url == "https://api.example"
    assert settings.retry.not_applied_statuses == (429, 503)
    assert settings.default_account is None
    assert settings.window.linger_ms == 250
    assert settings.kafka.extra_plain() == {"sasl.password": SECRET}
    assert SECRET not in repr(settings)


def test_settings_ignore_the_environment_of_the_process(monkeypatch, write):
    monkeypatch.setenv("CALLSTREAM_KAFKA__GROUP_ID", "other")

    assert load_settings(write(MINIMAL), {}).kafka.group_id == "callstream"
    assert load_settings(write(MINIMAL)).kafka.group_id == "other"


def test_properties_keep_their_meaning_as_text(write):
    path = write(merged(kafka__extra={"enable.ssl.certificate.verification": True, "socket.timeout.ms": 5000}))

    assert load_settings(path, {}).kafka.extra_plain() == {
        "enable.ssl.certificate.verification": "true",
        "socket.timeout.ms": "5000",
    }


def test_instance_is_the_host_name_unless_set(write, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "callstream-7")

    assert load_settings(write(MINIMAL), {}).kafka.instance == "callstream-7"
    assert load_settings(write(merged(kafka__instance=None)), {}).kafka.instance == "callstream-7"
    assert load_settings(write(merged(kafka__instance="a")), {}).kafka.instance == "a"


def test_settings_are_frozen(write):
    settings = load_settings(write(MINIMAL), {})

    with pytest.raises(ValidationError):
        settings.window.records_max = 1  # type: ignore[misc] # that is the point


WRONG = [
    pytest.param({"grup": 1}, ["grup: is not a setting"], id="unknown section"),
    pytest.param(
        {"kafka__grup_id": "x"}, ["kafka.grup_id: is not a setting; did you mean group_id?"], id="misspelt setting"
    ),
    pytest.param({"account__apikey": SECRET}, ["accounts[0].apikey", "did you mean api_key?"], id="misspelt secret"),
    pytest.param(
        {"window__records_max": 501},
        ["window.records_max: is 501; set a whole number from 1 to 500"],
        id="over a bound",
    ),
    pytest.param({"window__linger_ms": "soon"}, ["window.linger_ms: is 'soon'; set a whole number"], id="not a number"),
    pytest.param({"statuses": "some"}, ["statuses: is 'some'; set one of all, best_effort, none"], id="not a choice"),
    pytest.param({"kafka": "localhost"}, ["kafka: is text; set a section"], id="text for a section"),
    pytest.param(
        {"api__post_deadline_s": 31},
        ["api.post_deadline_s: is 31; set a number above 0, at most 30"],
        id="POST > revoke",
    ),
    pytest.param({"kafka__session_timeout_s": 61}, ["kafka.session_timeout_s: is 61"], id="session > poll interval"),
    pytest.param({"kafka__bootstrap_servers": "kafka"}, ["kafka.bootstrap_servers: is not of"], id="no port"),
    pytest.param({"kafka__topics": {"intents": "a", "outcomes": "a"}}, ["kafka.topics: two topics"], id="same topic"),
    pytest.param({"accounts": []}, ["accounts: is empty"], id="no account"),
    pytest.param({"account__id": ACCOUNT.upper()}, ["accounts[0].id: is not of the right form"], id="id in capitals"),
    pytest.param({"account__id": 5}, ["accounts[0].id: is a number; write text in quotes"], id="id is a number"),
    pytest.param({"account__api_key": 12345}, ["accounts[0].api_key: is a number"], id="key is a number"),
    pytest.param({"account__api_key": ""}, ["accounts[0].api_key: is empty"], id="key is empty"),
    pytest.param(
        {"account__api_key_file": "/f"}, ["accounts[0]: needs exactly one of api_key", "has api_key and"], id="two keys"
    ),
    pytest.param({"account__key_id": None}, ["accounts[0]: needs exactly one of key_id", "has none"], id="no key id"),
    pytest.param({"accounts": MINIMAL["accounts"] * 2}, [f"accounts: {ACCOUNT} stands twice"], id="account twice"),
    pytest.param({"default_account": OTHER}, ["default_account: is not in accounts"], id="default is no account"),
    pytest.param({"account__policy": "drop"}, ["accounts[0].policy: is 'drop'; set one of retry, hold"], id="policy"),
    pytest.param({"labels": "maybe"}, ["labels: ", "off, warn, reject"], id="labels"),
    pytest.param({"account__labels": "maybe"}, ["accounts[0].labels: ", "off, warn, reject"], id="account labels"),
    pytest.param(
        {"intents__invalid_ratio_action": "stop"},
        ["intents.invalid_ratio_action: is 'stop'; set one of alert, pause"],
        id="invalid ratio",
    ),
    pytest.param({"account__limits": {"tokens_max": 11}}, ["accounts[0].limits.tokens_max: is 11"], id="tokens"),
    pytest.param({"priority_offsets_s__high": 60}, ["priority_offsets_s: a higher priority"], id="priorities"),
    pytest.param({"lane__intents_max": 400}, ["lane.intents_max: is below window.records_max"], id="lane < batch"),
    pytest.param({"worker_intents_max": 9}, ["worker_intents_max: is below lane.intents_max"], id="worker < lane"),
    pytest.param({"retry__not_applied_statuses": [200]}, ["retry.not_applied_statuses[0]: is 200"], id="2xx again"),
    pytest.param({"api__base_url": "http://api.example"}, ["api.base_url: must be https"], id="plain http"),
    pytest.param({"api__base_url": f"https://u:{SECRET}@h"}, ["api.base_url: must not hold"], id="password in URL"),
    pytest.param({"api__base_url": "https://h/v1"}, ["api.base_url: must end after the host"], id="path in URL"),
    pytest.param(
        {"kafka__extra": {"sasl.oauthbearer.token.endpoint.url": "file:///etc/passwd"}},
        ["kafka.extra.sasl.oauthbearer.token.endpoint.url: must be https"],
        id="token endpoint",
    ),
    pytest.param({"kafka__extra": {"sasl.password": [SECRET]}}, ["kafka.extra.sasl.password: "], id="list as property"),
]


@pytest.mark.parametrize(("changes", "expected"), WRONG)
def test_a_wrong_setting_is_named_with_what_is_wrong_and_what_to_do(write, changes, expected):
    (problem,) = problems_of(write(merged(**changes)))

    for text in expected:
        assert text in problem
    assert SECRET not in problem
    assert re.search(r"[;?]", problem), "a remedy follows"


@pytest.mark.parametrize("name", sorted(PROMISES))
def test_properties_that_carry_a_promise_are_refused_however_they_are_spelt(write, name):
    (problem,) = problems_of(write(merged(kafka__extra={name: "1"})))
    assert problem == f"kafka.extra.{name}: must not be set: {PROMISES[name]}; remove it"

    (problem,) = problems_of(write(MINIMAL), {f"CALLSTREAM_KAFKA__EXTRA__{name.upper().replace('.', '_')}": "1"})
    assert problem.startswith(f"kafka.extra.{name} (from CALLSTREAM_KAFKA__EXTRA__")


def test_all_problems_are_told_at_once(write):
    path = write({"kafka": {"partitions": 0}, "labels": "maybe", "nonsense": 1})

    problems = problems_of(path, {"CALLSTREAM_WINDOWS": "1", "CALLSTREAM_METRICS__PORT": "70000"})

    assert [problem.partition(":")[0] for problem in problems if not problem.startswith("hint")] == [
        "CALLSTREAM_WINDOWS",
        "kafka.partitions",
        "api.base_url",
        "accounts",
        "labels",
        "metrics.port (from CALLSTREAM_METRICS__PORT)",
        "nonsense",
    ]


def test_service_links_of_kubernetes_are_recognised(write):
    (problem,) = problems_of(
        write(MINIMAL),
        {
            "CALLSTREAM_PORT": "tcp://10.0.0.7:9464",
            "CALLSTREAM_PORT_9464_TCP_ADDR": "10.0.0.7",
            "CALLSTREAM_SERVICE_HOST": "10.0.0.7",
            "CALLSTREAM_SERVICE_PORT_METRICS": "9464",
        },
    )

    assert problem.startswith(
        "CALLSTREAM_PORT, CALLSTREAM_PORT_9464_TCP_ADDR, CALLSTREAM_SERVICE_HOST, CALLSTREAM_SERV"
    )
    assert "enableServiceLinks: false" in problem
    assert "10.0.0.7" not in problem


def test_an_unknown_variable_mentions_service_links_as_a_possible_cause(write):
    unknown, hint = problems_of(write(MINIMAL), {"CALLSTREAM_WINDOW_RECORDS_MAX": SECRET})

    assert unknown == "CALLSTREAM_WINDOW_RECORDS_MAX: is not a setting; did you mean CALLSTREAM_WINDOW__RECORDS_MAX?"
    assert "Service" in hint


def test_known_variables_that_are_no_settings_are_let_through(write):
    accounts = [{"id": ACCOUNT, "key_id": "k", "api_key_env": "CALLSTREAM_ACME_KEY"}]

    load_settings(
        write({**MINIMAL, "accounts": accounts}),
        {
            "CALLSTREAM_TEST_BOOTSTRAP": "127.0.0.1:1",
            "CALLSTREAM_FAILPOINT": "x",
            "CALLSTREAM_ACME_KEY": SECRET,
            "PATH": "/bin",
        },
    )


def test_a_value_that_is_not_json_is_told_alone(write):
    (problem,) = problems_of(write(MINIMAL), {"CALLSTREAM_ACCOUNTS": f"{{{SECRET}", "CALLSTREAM_X": "1"})

    assert problem == "accounts: its value in the environment is not JSON; write lists and mappings as JSON"


UNUSABLE = [
    pytest.param("kafka: {group_id: a}\nkafka: {group_id: b}\n", "kafka stands twice", id="key twice"),
    pytest.param(f"api: {{base_url: '{SECRET}\n", "is not YAML", id="broken"),
    pytest.param("- 1\n- 2\n", "is no mapping", id="list"),
    pytest.param("1: 2\n", "is no mapping", id="number as key"),
    pytest.param("a: !!python/object:os.system {}\n", "is not YAML", id="object"),
    pytest.param("a: " + "x" * 2**20, "larger than 1 MiB", id="huge"),
    pytest.param("a: " + "[" * 5000 + "]" * 5000, "is nested too deeply", id="deep"),
]


@pytest.mark.parametrize(("text", "expected"), UNUSABLE)
def test_an_unusable_file_is_named(write, text, expected):
    path = write(text)
    (problem,) = problems_of(path)

    assert problem.startswith(f"{path}: ")
    assert expected in problem
    assert SECRET not in problem


def test_a_missing_file_is_named(tmp_path):
    (problem,) = problems_of(tmp_path / "no.yaml")

    assert problem == f"{tmp_path / 'no.yaml'}: cannot be read: No such file or directory; name an existing file"


def test_off_is_a_word_and_not_a_boolean(write):
    text = yaml.safe_dump(merged()) + "labels: off\nintents: {reason_characters: off, strict_unknown_fields: true}\n"
    settings = load_settings(write(text), {})

    assert settings.labels == "off"
    assert settings.intents.reason_characters == "off"
    assert settings.intents.strict_unknown_fields is True


def test_an_empty_file_leaves_everything_to_the_environment(write):
    assert problems_of(write("# nothing\n")) == (
        "api.base_url: is required; set it in the file or as CALLSTREAM_API__BASE_URL",
        "accounts: is required; set it in the file or as CALLSTREAM_ACCOUNTS",
    )


def test_the_example_shows_every_setting_with_its_default():
    example = yaml.safe_load((ROOT / "config.example.yaml").read_text(encoding="utf-8"))

    for path, leaf in leaves().items():
        if "[]" in path:
            continue
        value: Any = example
        for name in path.split("."):
            assert name in value, f"{path} is missing in config.example.yaml"
            value = value[name]
        if not leaf.required:
            assert ("off" if value is False and leaf.default == "off" else value) == leaf.default, path


def test_the_example_is_accepted():
    settings = load_settings(ROOT / "config.example.yaml", {})

    assert len(settings.accounts) == 1
    assert list(Settings.model_fields) == list(yaml.safe_load((ROOT / "config.example.yaml").read_text()))


def test_the_reference_is_up_to_date():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")

    assert page == reference(), "run `uv run callstream config docs settings > docs/settings.md`"


def test_every_setting_is_described():
    assert [leaf.path for leaf in leaves().values() if not leaf.description] == []


def test_the_schema_refuses_unknown_settings_everywhere():
    schema = file_schema()

    for name, section in [("", schema), *schema["$defs"].items()]:
        if "properties" in section:
            assert section["additionalProperties"] is False, name
