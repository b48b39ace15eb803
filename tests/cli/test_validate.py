"""`callstream validate`: a file of intents in, one JSON line per intent out, without a network or a configuration."""

import io
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from typer.testing import CliRunner, Result

from streams.cli.ndjson import read_lines
from streams.cli.validate import validate
from streams.contracts.schemas import SCHEMAS_DIRECTORY
from streams.intake.reasons import VALUE_BYTES_MAX
from tests.intake.samples import ACCOUNT, FULL, HOUR_MS, NOW_MS, OTHER_ACCOUNT, intent

EXAMPLES = SCHEMAS_DIRECTORY / "examples" / "call-intent.v1"
CONFIG = f"""
kafka: {{bootstrap_servers: "127.0.0.1:9092"}}
api: {{base_url: "https://api.example", post_deadline_s: 10}}
accounts: [{{id: {ACCOUNT}, key_id: 6dab73bb-28d8-4030-9722-8663ff9589f3, api_key_file: /nowhere}}]
default_account: {ACCOUNT}
intents: {{horizon_h: 1, strict_unknown_fields: true, reason_characters: reject}}
"""


def run(*arguments: str, stdin: bytes = b"") -> Result:
    app = typer.Typer()
    app.command()(validate)
    return CliRunner().invoke(app, list(arguments), input=stdin)


def told(result: Result) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in result.stdout.splitlines()]


def check(*values: bytes, arguments: tuple[str, ...] = ("--now", str(NOW_MS))) -> list[tuple[bool, str | None]]:
    return [(line["ok"], line["reason"]) for line in told(run("-", *arguments, stdin=b"\n".join(values)))]


@pytest.fixture
def config(tmp_path: Path) -> tuple[str, ...]:
    path = tmp_path / "callstream.yaml"
    path.write_text(CONFIG)
    return ("--now", str(NOW_MS), "--config", str(path))


def test_valid_examples_are_ok_and_the_code_is_0(tmp_path: Path) -> None:
    examples = sorted((EXAMPLES / "valid").iterdir())
    file = tmp_path / "intents.ndjson"
    file.write_bytes(b"".join(path.read_bytes() for path in examples))
    result = run(str(file), "--now", str(NOW_MS))
    assert told(result) == [
        {"line": number, "ok": True, "reason": None, "message": None} for number in range(1, len(examples) + 1)
    ]
    assert result.exit_code == 0


def test_one_bad_line_is_named_and_the_code_is_1() -> None:
    result = run("-", "--now", str(NOW_MS), stdin=intent() + b"\n" + intent(caller="x") + b"\n" + intent() + b"\n")
    assert [line["ok"] for line in told(result)] == [True, False, True]
    bad = told(result)[1]
    assert list(bad) == ["line", "ok", "reason", "message"]
    assert (bad["line"], bad["reason"]) == (2, "malformed_phone")
    assert bad["message"].startswith("caller is not a phone number")
    assert result.exit_code == 1


def test_empty_lines_count_but_are_not_answered() -> None:
    result = run("-", "--now", str(NOW_MS), stdin=b"\n" + intent() + b"\r\n \t\r\n\n" + intent())
    assert [line["line"] for line in told(result)] == [2, 5]
    assert result.exit_code == 0


def test_no_lines_are_all_valid() -> None:
    result = run("-")
    assert (result.stdout, result.stderr, result.exit_code) == ("", "there are no intents\n", 0)


def test_missing_file_is_said_on_stderr_and_the_code_is_2(tmp_path: Path) -> None:
    result = run(str(tmp_path / "nowhere.ndjson"))
    assert result.exit_code == 2
    assert "No such file" in result.stderr
    assert result.stdout == ""


def test_any_account_is_taken_without_a_configuration_but_one_must_be_named() -> None:
    assert check(intent(account_id=OTHER_ACCOUNT), intent(account_id=...)) == [(True, None), (False, "account_missing")]


def test_rules_of_the_configuration_hold_when_one_is_given(config: tuple[str, ...]) -> None:
    hour_and_more = {"starts_at": NOW_MS, "ends_at": NOW_MS + HOUR_MS + 1}
    good = {"ends_at": NOW_MS + HOUR_MS}
    assert check(
        intent(**good),
        intent(**good, account_id=...),
        intent(**good, account_id=OTHER_ACCOUNT),
        intent(**good, extra=1),
        intent(**good, call_reason="Your parcel (2 of 3)"),
        intent(**hour_and_more),
        intent(starts_at=NOW_MS, ends_at=NOW_MS + 10_000),
        intent(starts_at=NOW_MS, ends_at=NOW_MS + 10_001),
        arguments=config,
    ) == [
        (True, None),
        (True, None),
        (False, "unknown_account"),
        (False, "unknown_field"),
        (False, "reason_characters"),
        (False, "beyond_horizon"),
        (False, "expired"),
        (True, None),
    ]


def test_what_a_worker_only_counts_is_a_remark() -> None:
    remarked, plain = told(
        run("-", "--now", str(NOW_MS), stdin=intent(extra=1, call_reason="Your parcel arrives.") + b"\n" + intent())
    )
    assert remarked["ok"]
    assert "dropped: 1" in remarked["message"]
    assert "character rules" in remarked["message"]
    assert plain["message"] is None


def test_clock_decides_where_no_time_is_given() -> None:
    assert check(intent(), arguments=()) == [(False, "expired")]


def test_output_quotes_nothing_of_the_input() -> None:
    secret = intent(caller="+91 98765-43210", call_reason=FULL["call_reason"] + "\0")
    result = run("-", stdin=secret + b"\n" + secret[:-5])
    assert "98765" not in result.output
    assert "parcel" not in result.output


def test_line_beyond_the_limit_is_skipped_without_being_kept() -> None:
    class Watched(io.BytesIO):
        largest = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            line = super().readline(size)
            self.largest = max(self.largest, len(line))
            return line

    longest = intent() + b" " * (VALUE_BYTES_MAX - len(intent()))
    stream = Watched(b"x" * 10_000_000 + b"\n" + longest + b"\r\n" + longest + b" \n" + b"{}\n" + b"y" * 300_000)
    assert [(number, None if line is None else len(line)) for number, line in read_lines(stream)] == [
        (1, None),
        (2, VALUE_BYTES_MAX),
        (3, VALUE_BYTES_MAX + 1),
        (4, 2),
        (5, None),
    ]
    assert stream.largest <= VALUE_BYTES_MAX + 2


def test_line_beyond_the_limit_is_too_large() -> None:
    lines = told(run("-", "--now", str(NOW_MS), stdin=b"x" * 300_000 + b"\n" + intent()))
    assert [(line["line"], line["reason"]) for line in lines] == [(1, "too_large"), (2, None)]
