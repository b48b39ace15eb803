"""``callstream config``, as an operator types it."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from streams.cli import main
from streams.settings import load_settings
from streams.settings.docs import reference
from streams.telemetry.docs import reference as metrics_reference

ROOT = Path(__file__).parents[2]
ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"
SECRET = "hunter2-9f8e7d6c"
SETTINGS = {
    "kafka": {"group_id": "acme", "extra": {"sasl.password": SECRET, "security.protocol": "SASL_SSL"}},
    "api": {"base_url": "https://api.example"},
    "accounts": [{"id": ACCOUNT, "key_id": "k", "api_key": SECRET}],
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "callstream.yaml"
    path.write_text(yaml.safe_dump(SETTINGS))
    return path


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def callstream(monkeypatch, capsys) -> Callable[..., Ended]:
    for name in [name for name in os.environ if name.startswith("CALLSTREAM_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str | Path, **environ: str) -> Ended:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["callstream", *map(str, arguments)])
            for name, value in environ.items():
                patched.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run


def test_show_prints_what_is_in_effect_and_where_it_comes_from(callstream, config):
    shown = callstream("config", "show", "-c", config, CALLSTREAM_WINDOW__LINGER_MS="5")

    assert shown.returncode == 0, shown.stderr
    assert "  group_id: acme  # file\n" in shown.stdout
    assert "  linger_ms: 5  # CALLSTREAM_WINDOW__LINGER_MS\n" in shown.stdout
    assert "  records_max: 500  # default\n" in shown.stdout
    assert "    security.protocol: SASL_SSL  # file\n" in shown.stdout
    assert SECRET not in shown.stdout + shown.stderr


def test_what_show_prints_can_be_read_again(callstream, config, tmp_path):
    again = tmp_path / "again.yaml"
    again.write_text(callstream("config", "show", "-c", config).stdout)

    before, after = load_settings(config, {}), load_settings(again, {})

    assert after.model_dump(exclude={"kafka": {"extra"}, "accounts": True}) == before.model_dump(
        exclude={"kafka": {"extra"}, "accounts": True}
    )


def test_show_prints_json_for_programs(callstream, config):
    shown = callstream(
        "config", "show", "--json", CALLSTREAM_CONFIG=str(config), CALLSTREAM_KAFKA__EXTRA__SASL_USERNAME="u"
    )

    document = json.loads(shown.stdout)
    assert document["settings"]["kafka"]["group_id"] == "acme"
    assert document["sources"]["kafka.group_id"] == "file"
    assert document["sources"]["kafka.partitions"] == "default"
    assert document["sources"]["kafka.extra.sasl.username"] == "CALLSTREAM_KAFKA__EXTRA__SASL_USERNAME"
    assert document["settings"]["kafka"]["extra"]["sasl.password"] != SECRET
    assert SECRET not in shown.stdout


def test_check_says_ok_and_warns_of_what_is_doubtful(callstream, config):
    checked = callstream("config", "check", "-c", config, CALLSTREAM_KAFKA__EXTRA__SECURITY_PROTOCOL="plaintext",
                         CALLSTREAM_KAFKA__BOOTSTRAP_SERVERS="kafka:9092")  # fmt: skip

    assert checked.returncode == 0, checked.stderr
    assert checked.stdout == "ok: 1 account, Kafka at kafka:9092\n"
    assert "warning: kafka.extra: connections to Kafka are not encrypted" in checked.stderr
    assert "warning: accounts[0].api_key: a secret stands in the settings" in checked.stderr
    assert SECRET not in checked.stderr


def test_check_lists_all_problems_and_ends_with_2(callstream, config):
    checked = callstream(
        "config", "check", "-c", config, CALLSTREAM_WINDOW__RECORDS_MAX="501", CALLSTREAM_STATUSES="some"
    )

    assert checked.returncode == 2
    assert checked.stdout == ""
    assert "window.records_max (from CALLSTREAM_WINDOW__RECORDS_MAX): is '501'" in checked.stderr
    assert "statuses (from CALLSTREAM_STATUSES): is 'some'" in checked.stderr
    assert "Traceback" not in checked.stderr


def test_check_reads_the_credentials(callstream, tmp_path):
    path = tmp_path / "c.yaml"
    account = {"id": ACCOUNT, "key_id": "k", "api_key_file": str(tmp_path / "none")}
    path.write_text(yaml.safe_dump({**SETTINGS, "accounts": [account]}))

    checked = callstream("config", "check", "-c", path)

    assert checked.returncode == 2
    assert checked.stderr.startswith(f"callstream: account {ACCOUNT}: api_key_file {tmp_path / 'none'}: cannot be read")


@pytest.mark.parametrize(
    ("command", "name", "value", "complaint"),
    [
        pytest.param("config check", "SECURITY_PROTOCOL", "bogus", '"security.protocol"', id="value"),
        pytest.param("config check", "FOO", "1", "No such configuration property", id="name"),
        pytest.param("config check", "SSL_CA_LOCATION", "/no/such/file", "ssl.ca.location", id="file"),
        pytest.param("worker", "FOO", "1", "No such configuration property", id="worker"),
        pytest.param("topics check", "FOO", "1", "No such configuration property", id="topics"),
    ],
)
def test_a_property_that_kafkas_client_refuses_is_a_mistake_in_the_settings(
    callstream, config, command, name, value, complaint
):
    extra = {"SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "u", name: value}
    ended = callstream(
        *command.split(), "-c", config, **{f"CALLSTREAM_KAFKA__EXTRA__{key}": each for key, each in extra.items()}
    )

    assert ended.returncode == 2
    assert "kafka.extra: " in ended.stderr
    assert complaint in ended.stderr
    assert "Traceback" not in ended.stderr
    assert SECRET not in ended.stderr


def test_schema_is_json_schema(callstream):
    schema = json.loads(callstream("config", "schema").stdout)

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["required"]) == {"api", "accounts"}
    assert schema["additionalProperties"] is False


def test_docs_prints_the_pages(callstream):
    assert callstream("config", "docs").stdout == reference()
    assert callstream("config", "docs", "metrics").stdout == metrics_reference()
