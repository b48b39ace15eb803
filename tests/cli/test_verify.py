"""`callstream verify`: its options, its two forms of an answer, and its exit codes."""

import re
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from streams.audit.judge import Anomaly
from streams.audit.report import Report
from streams.cli import app
from streams.kafka.ranges import Range
from streams.kafka.verify import Verifier

ROOT = Path(__file__).parents[2]
ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"


def invalid() -> Report:
    report = Report(intents=3, covered={"topic": "calls.intents.v1"})
    report.outcomes["delivered"] = 2
    report.budget = {"busiest_minute": {"requests": 7, "limit": 60, "who": f"token 0 of {ACCOUNT}"}}
    example = {"topic": "calls.intents.v1", "partition": 3, "offset": 17, "account_id": ACCOUNT, "traces": ["parcel"]}
    report.anomaly(Anomaly.LOST, example, ACCOUNT)
    return report


def verify(monkeypatch, report, *arguments):
    """Run the command on a report that is known already; returns the result and the verifier that was asked for."""
    asked = []

    def run(self):
        asked.append(self)
        self.progress("calls.outcomes.v1", 1, 2)
        return report

    monkeypatch.setattr(Verifier, "run", run)
    return CliRunner().invoke(app, ["verify", *arguments]), (asked or [None])[0]


@pytest.mark.parametrize(
    ("report", "code"),
    [
        pytest.param(Report(intents=5), 0, id="valid"),
        pytest.param(invalid(), 1, id="invalid"),
        pytest.param(Report(unknown=["topic 'x' does not exist"]), 3, id="unknown"),
    ],
)
def test_the_exit_code_is_the_verdict(monkeypatch, report, code):
    result, _ = verify(monkeypatch, report, "--json")
    told = orjson.loads(result.stdout)
    assert (result.exit_code, told["verdict"]) == (code, report.verdict)
    promised = {"verdict", "intents", "outcomes", "dead_letters", "pending", "pending_by_place", "applied_twice"}
    assert told.keys() >= promised | {"anomalies", "unknown", "accounts", "budget", "covered"}


def test_people_read_a_verdict_figures_and_where(monkeypatch):
    result, _ = verify(monkeypatch, invalid())
    assert result.stdout.startswith("verdict invalid")
    assert re.search(r"delivered +2 *\n", result.stdout)
    assert re.search(r"busiest minute +7 of 60", result.stdout)
    assert re.search(rf"{ACCOUNT} +0 +0 +0 +1 *\n", result.stdout)
    assert "lost 1\n" in result.stdout
    assert "partition 3, offset 17" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        pytest.param([], Range(), id="all"),
        pytest.param(["--from", "1700000000000"], Range(from_ms=1_700_000_000_000), id="epoch milliseconds"),
        pytest.param(["--to", "2023-11-14T22:13:20Z"], Range(to_ms=1_700_000_000_000), id="ISO 8601"),
        pytest.param(["--to", "2023-11-14T22:13:20"], Range(to_ms=1_700_000_000_000), id="UTC unless it says so"),
        pytest.param(
            ["--offsets", "0:5-9", "--offsets", "2:7-"], Range(offsets={0: (5, 9), 2: (7, None)}), id="offsets"
        ),
    ],
)
def test_a_range_is_understood(monkeypatch, arguments, wanted):
    result, verifier = verify(monkeypatch, Report(), *arguments)
    assert result.exit_code == 0
    assert verifier.wanted == wanted
    assert verifier.rules.whole == (wanted == Range())


def test_a_time_may_be_a_span_back_from_now(monkeypatch):
    _, hour = verify(monkeypatch, Report(), "--from", "-1h")
    _, day = verify(monkeypatch, Report(), "--from", "-1d")
    assert hour.wanted.from_ms - day.wanted.from_ms == pytest.approx(23 * 3_600_000, abs=60_000)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--from", "yesterday"], id="no time"),
        pytest.param(["--offsets", "5"], id="no offsets"),
        pytest.param(["--offsets", "0:1-2", "--from", "-1h"], id="times and offsets"),
        pytest.param(["--ledger", "absent"], id="no ledger"),
    ],
)
def test_what_makes_no_sense_is_a_wrong_usage(monkeypatch, arguments):
    result, verifier = verify(monkeypatch, Report(), *arguments)
    assert (result.exit_code, verifier) == (2, None)


def test_the_limits_are_those_of_the_settings(monkeypatch, tmp_path):
    config = tmp_path / "callstream.yaml"
    config.write_text(
        f"""
api: {{base_url: "https://api.example"}}
accounts:
  - {{id: {ACCOUNT}, key_id: k, api_key: k, policy: hold, limits: {{requests_per_minute_per_token: 30}}}}
limits: {{token_mints_per_30_min: 7}}
retry: {{ambiguous_resends_max: 1}}
"""
    )
    _, verifier = verify(monkeypatch, Report(), "--config", str(config))
    limits, others = verifier.rules.limits_of(ACCOUNT), verifier.rules.limits_of("another")
    assert (limits.requests_per_minute_per_token, limits.token_mints_per_30_min, limits.resends_max) == (30, 7, 0)
    assert (others.requests_per_minute_per_token, others.resends_max) == (60, 1)


def test_every_anomaly_is_explained():
    explained = (ROOT / "docs/verify.md").read_text()
    assert not [name for name in Anomaly if f"`{name}`" not in explained]
