"""Failpoints: inert unless asked for, refused where they are not understood, and each place is really in the code."""

import ast
import signal
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from streams import failpoint
from streams.contracts.exits import ExitCode
from streams.failpoint import PLACES, STEPS, Armed, Failpoint, FailpointRaised, UnknownFailpoint, parse

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("spec", "understood"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param("after_poll:kill", [Failpoint("after_poll", "kill")], id="an action"),
        pytest.param("after_poll:stop:3", [Failpoint("after_poll", "stop", 3)], id="the third time"),
        pytest.param("after_poll:delay:0.5", [Failpoint("after_poll", "delay", 1, 0.5)], id="a delay"),
        pytest.param("after_poll:delay:2:7", [Failpoint("after_poll", "delay", 7, 2.0)], id="a delay the seventh time"),
        pytest.param(
            "after_poll:kill, drain_end:raise,",
            [Failpoint("after_poll", "kill"), Failpoint("drain_end", "raise")],
            id="several",
        ),
    ],
)
def test_what_is_understood(spec, understood):
    assert parse(spec) == understood


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        pytest.param("nowhere:kill", list(PLACES), id="no such place lists the places"),
        pytest.param("after_poll:explode", list(failpoint.ACTIONS), id="no such action lists the actions"),
        pytest.param("after_poll", list(failpoint.ACTIONS), id="no action"),
        pytest.param("after_poll:kill:0", ["after_poll:kill:0"], id="the zeroth time"),
        pytest.param("after_poll:kill:x", ["after_poll:kill:x"], id="no number"),
        pytest.param("after_poll:kill:1:2", ["after_poll:kill:1:2"], id="one part too many"),
        pytest.param("after_poll:delay", ["after_poll:delay:seconds"], id="a delay of nothing"),
        pytest.param("after_poll:delay:nan", ["after_poll:delay:seconds"], id="a delay of NaN"),
        pytest.param("after_poll:delay:-1", ["after_poll:delay:seconds"], id="a delay back in time"),
    ],
)
def test_what_is_refused(spec, said):
    with pytest.raises(UnknownFailpoint) as refused:
        failpoint.arm(spec)
    assert refused.value.exit_code is ExitCode.USAGE
    assert all(each in str(refused.value) for each in said)
    assert failpoint.hit is None


def test_nothing_is_armed_by_nothing():
    failpoint.arm("")
    assert failpoint.hit is None


def test_armed_places_are_told_and_hit(monkeypatch):
    monkeypatch.setattr(failpoint, "hit", None)
    with capture_logs() as logs:
        failpoint.arm("drain_end:raise")
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("failpoints_armed", "warning")]
    assert failpoint.hit is not None
    with pytest.raises(FailpointRaised):
        failpoint.hit("drain_end")


def test_a_place_acts_the_nth_time_and_once():
    armed = Armed(parse("after_poll:raise:3"))
    armed.hit("drain_end")
    armed.hit("after_poll")
    armed.hit("after_poll")
    with capture_logs() as logs, pytest.raises(FailpointRaised):
        armed.hit("after_poll", "which")
    assert logs == [
        {
            "event": "failpoint_reached",
            "log_level": "warning",
            "place": "after_poll",
            "action": "raise",
            "detail": "which",
        }
    ]
    armed.hit("after_poll")


@pytest.mark.parametrize(
    ("action", "done"),
    [
        pytest.param("kill", signal.SIGKILL, id="kill"),
        pytest.param("stop", signal.SIGSTOP, id="stop"),
        pytest.param("delay:0.25", 0.25, id="delay"),
    ],
)
def test_what_an_action_does(monkeypatch, action, done):
    acted = []
    monkeypatch.setattr("os.kill", lambda _pid, number: acted.append(number))
    monkeypatch.setattr("time.sleep", acted.append)
    Armed(parse(f"after_poll:{action}")).hit("after_poll")
    assert acted == [done]


def test_a_place_that_is_not_in_the_table_is_a_bug():
    with pytest.raises(AssertionError, match="nowhere"):
        Armed(parse("after_poll:kill")).hit("nowhere")


def texts_in_the_code() -> set[str]:
    """All constant texts, parts of f-strings included, of the package without the table itself."""
    return {
        node.value
        for path in (ROOT / "streams").rglob("*.py")
        if path.name != "failpoint.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_every_place_is_in_the_code():
    texts = texts_in_the_code()
    composed = {f"{step}_{where}" for step in STEPS for where in ("before_produce", "after_produce", "after_ack")}
    composed |= {f"{name}_commit_{when}" for name in ("route", "lanes") for when in ("offsets", "before", "after")}
    assert PLACES.keys() - composed <= texts
    assert {"before_produce", "after_produce", "after_ack", "_commit_", "offsets", "before", "after"} <= texts
    assert all(step in texts or f"{step}/" in texts for step in STEPS)
