"""``callstream worker`` where it cannot work: what it says, and its exit code. With Kafka: see tests/e2e."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from scripts.kafka import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

ROOT = Path(__file__).resolve().parents[2]

# What `python -m streams` does, with less patience for a Kafka that is away.
IMPATIENT = "import streams.kafka.transaction as t; t.START_TIMEOUT_S = 1.0; from streams.cli import main; main()"


@pytest.fixture
def config(tmp_path):
    """``config(**sections)`` writes settings whose Kafka and API are closed ports."""

    def write(**sections):
        settings = {
            "kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"},
            "api": {"base_url": "http://127.0.0.1:9"},
            "accounts": [{"id": "91c173bb-28d8-4030-9722-8663ff9589f3", "key_id": "k", "api_key": "the-secret-key"}],
            "metrics": {"host": "127.0.0.1", "port": free_port()},
            "logging": {"format": "json"},
        }
        path = tmp_path / "callstream.yaml"
        path.write_text(yaml.safe_dump(settings | sections))
        return path

    return write


def start(path, *python, **environment):
    command = [sys.executable, *(python or ("-m", "streams")), "worker", "--config", str(path)]
    variables = os.environ | environment
    return subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(worker):
    _, said = worker.communicate(timeout=40)
    assert "Traceback" not in said
    assert "the-secret-key" not in said
    return worker.returncode, said


def test_a_wrong_setting_is_named(config):
    code, said = ended(start(config(kafka={"bootstrap": "127.0.0.1:1"})))
    assert code == 2
    assert "kafka.bootstrap" in said


def test_a_failpoint_that_does_not_exist_is_refused_with_those_that_do(config):
    code, said = ended(start(config(), CALLSTREAM_FAILPOINT="nowhere:kill"))
    assert code == 2
    assert all(place in said for place in ("'nowhere'", "after_poll", "drain_end"))


def test_a_failpoint_is_no_setting(config):
    code, said = ended(start(config(failpoint="drain_end:kill")))
    assert code == 2
    assert "failpoint: is not a setting" in said


def test_credentials_that_cannot_be_read_are_named(config, tmp_path):
    account = {"id": "91c173bb-28d8-4030-9722-8663ff9589f3", "key_id": "k", "api_key_file": str(tmp_path / "absent")}
    code, said = ended(start(config(accounts=[account])))
    assert code == 2
    assert account["id"] in said
    assert "absent" in said


def test_a_port_that_is_taken_is_named(config):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = ended(start(config(metrics={"host": "127.0.0.1", "port": port})))
    assert code == 2
    assert str(port) in said


@pytest.mark.faults("F1")
@pytest.mark.parametrize(
    "servers",
    [
        pytest.param(f"127.0.0.1:{free_port()}", id="nobody listens"),
        pytest.param("nobody.invalid:9092", id="F2-no-such-host"),
    ],
)
def test_a_kafka_that_is_away_is_a_reason_to_be_started_again(config, servers):
    code, said = ended(start(config(kafka={"bootstrap_servers": servers}), "-c", IMPATIENT))
    assert code == 1
    assert "kafka_unreachable" in said
    assert servers.partition(":")[0] in said
    assert "kafka.bootstrap_servers" in said


@pytest.mark.faults("F83")
def test_a_stop_before_kafka_is_reached_is_a_normal_end(config):
    port = free_port()
    worker = start(config(metrics={"host": "127.0.0.1", "port": port}))
    deadline_s = time.monotonic() + 30
    while not answers(f"http://127.0.0.1:{port}/livez"):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    worker.send_signal(signal.SIGTERM)
    code, _ = ended(worker)
    assert code == 0


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False
