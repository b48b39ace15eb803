"""How the demo looks: a frame that never jumps, in any terminal, and a line where there is none."""

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from streams.sandbox.demo.picture import AccountRow, Phase, Picture, Pulse, eta_s
from streams.sandbox.demo.requests import RecentBatch
from streams.sandbox.demo.screen import LineScreen, LiveScreen, line, screen_on
from streams.sandbox.demo.view import ACCOUNT_ROWS_MAX, clock, draw

ACCOUNT = AccountRow("9f074355-9a66-4201-a0da-2d4655cb6ede", 1234, 5678, 42, 57, 60, {"delivered": 9876, "failed": 321})
PICTURE = Picture(
    phase=Phase.DIALING,
    elapsed_s=34.5,
    duration_s=60.0,
    published=23_456,
    unread=17,
    waiting=1234,
    accepted=5678,
    finals=10_197,
    final={"delivered": 9876, "failed": 321},
    dead_letters={"not_json": 12, "malformed_phone": 34},
    accounts=(ACCOUNT,) * 5,
    recent=(
        RecentBatch(1000.0, ACCOUNT.account_id, 500, 200, None),
        RecentBatch(1001.0, ACCOUNT.account_id, None, 429, "429"),
        RecentBatch(1002.0, ACCOUNT.account_id, None, None, "hang"),
    ),
    intake=(1, 5, 9),
    settled=(0, 0, 7),
    batches=42,
    batch_records_max=500,
    requests={"post": 43, "check": 41},
    over_limit=0,
    http_429=3,
    eta_s=83.0,
    metrics_url="http://127.0.0.1:9464/metrics",
)
EMPTY = replace(
    PICTURE,
    phase=Phase.STARTING,
    published=0,
    final={},
    dead_letters={},
    recent=(),
    intake=(),
    settled=(),
    requests={},
    eta_s=None,
    accounts=(ACCOUNT._replace(slots_used=0, final={}),) * 5,
)


def drawn(picture: Picture, width: int = 104) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    with console.capture() as capture:
        console.print(draw(picture, width))
    return Text.from_ansi(capture.get()).plain.splitlines()


def test_every_number_is_on_the_frame() -> None:
    text = "\n".join(drawn(PICTURE))
    for shown in (
        *("23,456", "17", "1,234", "5,678", "10,197", "46", "dialing", "0:34 of 1:00", "1:23", "57/60"),
        *("9,876", "321", "34 malformed_phone", "12 not_json", "42 batches", "43 POST", "41 GET", "3 throttled"),
        *("500 records", "not applied", "429", "hang", PICTURE.metrics_url),
    ):
        assert shown in text, shown


@pytest.mark.parametrize("width", [80, 100, 104, 200])
def test_the_frame_fills_the_width_and_keeps_its_height(width: int) -> None:
    heights = {len(drawn(picture, width)) for picture in (EMPTY, PICTURE, replace(PICTURE, phase=Phase.HELD_BACK))}
    assert len(heights) == 1
    assert {len(text) for text in drawn(PICTURE, width)} == {width}


def test_a_narrow_frame_still_has_every_count() -> None:
    text = "\n".join(drawn(PICTURE, 80))
    assert all(shown in text for shown in ("23,456", "57/60", "9,876", "321", "malformed_phone"))


def test_many_accounts_are_not_all_listed() -> None:
    text = "\n".join(drawn(replace(PICTURE, accounts=(ACCOUNT,) * (ACCOUNT_ROWS_MAX + 3))))
    assert text.count("57/60") == ACCOUNT_ROWS_MAX
    assert "+ 3 more" in text


def test_the_last_frame_asks_for_nothing_more() -> None:
    text = "\n".join(drawn(replace(PICTURE, phase=Phase.DONE, eta_s=0.0)))
    assert "Ctrl-C" not in text
    assert " of 1:00" not in text


def test_a_line_has_the_counts_and_the_end_if_that_is_known() -> None:
    told = line(PICTURE)
    assert all(
        shown in told for shown in ("0:34", "dialing", "in 23,456", "delivered 9,876", "dead letters 46", "1:23")
    )
    assert "about" not in line(replace(PICTURE, eta_s=None))


def test_lines_come_every_two_seconds_and_when_the_phase_changes() -> None:
    file = io.StringIO()
    with LineScreen(Console(file=file, width=40)) as screen:
        for elapsed_s in (0.0, 0.5, 1.9, 2.0, 2.1):
            screen.show(replace(PICTURE, elapsed_s=elapsed_s))
        screen.show(replace(PICTURE, elapsed_s=2.2, phase=Phase.HELD_BACK))
        screen.show(replace(PICTURE, elapsed_s=2.2, phase=Phase.SETTLING))
    assert [text.split()[:2] for text in file.getvalue().splitlines()] == [
        ["0:00", "dialing"],
        ["0:02", "dialing"],
        ["0:02", "settling"],
    ]


def test_a_live_screen_leaves_the_last_picture() -> None:
    file = io.StringIO()
    console = Console(file=file, width=104, height=40, force_terminal=True)
    with LiveScreen(console) as screen:
        screen.show(EMPTY)
        screen.show(PICTURE)
    assert file.getvalue().rindex("23,456") > file.getvalue().index("starting")
    assert file.getvalue().endswith("\x1b[?25h")


@pytest.mark.parametrize(("terminal", "kind"), [(True, LiveScreen), (False, LineScreen)], ids=["terminal", "pipe"])
def test_the_screen_suits_the_console(terminal: bool, kind: type[Any]) -> None:
    assert isinstance(screen_on(Console(file=io.StringIO(), force_terminal=terminal)), kind)


def test_a_pulse_has_one_value_for_each_full_second() -> None:
    pulse = Pulse(4)
    for elapsed_s, count in ((0.2, 5), (0.9, 8), (1.1, 9), (1.9, 20), (2.0, 20), (5.5, 26)):
        pulse.take(elapsed_s, count)
    assert pulse.values == (12, 0, 0, 0)
    assert pulse.rate() == 0


def test_a_rate_is_the_mean_of_ten_seconds() -> None:
    pulse = Pulse(60)
    for second in range(13):
        pulse.take(second + 0.5, second * 10)
    assert len(pulse.values) == 12
    assert pulse.rate() == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param({"settling_per_s": 0.0}, None, id="nothing becomes final"),
        pytest.param({"settling_per_s": 10.0}, 40.0, id="what is pending and what will be dialed"),
        pytest.param({"settling_per_s": 1000.0}, 10.0, id="not before the dialer ends"),
        pytest.param({"settling_per_s": 10.0, "dialing_left_s": 0.0}, 30.0, id="the dialer has ended"),
        pytest.param({"settling_per_s": 0.0, "dialing_left_s": 0.0, "finals": 1000}, 0.0, id="all is final"),
    ],
)
def test_the_end_is_foreseen_from_the_present_pace(known: dict[str, Any], expected: float | None) -> None:
    facts = {"dialing_left_s": 10.0, "rate": 10.0, "published": 1000, "finals": 700, **known}
    assert eta_s(**facts) == expected


def test_a_clock_has_minutes_and_seconds() -> None:
    assert [clock(seconds) for seconds in (0, 9.9, 61, 3600)] == ["0:00", "0:09", "1:01", "60:00"]
