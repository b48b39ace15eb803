"""A range of a topic as it is given on the command line, and how far the reading of it is."""

import re
import sys
import time
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from streams.kafka.ranges import Range

FromOption = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="TIME", help="Intents from then on: ISO 8601, epoch ms, or as -1h.", show_default=False
    ),
]
ToOption = Annotated[
    str | None, typer.Option(metavar="TIME", help="Intents before then, likewise.", show_default=False)
]
OffsetsOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PARTITION:FROM-[TO]", help="Intents by offset instead; may be given for more than one partition."
    ),
]

_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_RELATIVE: Final = re.compile(r"-(\d+(?:\.\d+)?)([smhd])")
_OFFSETS: Final = re.compile(r"(\d+):(\d+)-(\d*)")
_TELL_EVERY_S: Final = 5.0

# As milliseconds a day in 1973, as seconds the year 5138: whoever gives less means seconds.
_MILLISECONDS_MIN: Final = 100_000_000_000


def range_of(from_: str | None, to: str | None, offsets: list[str] | None, now_ms: int) -> Range:
    """The range that the options name; spans are counted back from ``now_ms``."""
    if offsets and (from_ or to):
        raise typer.BadParameter("takes the place of --from and --to", param_hint="--offsets")
    from_ms, to_ms = _time(from_, now_ms, "--from"), _time(to, now_ms, "--to")
    if from_ms is not None and to_ms is not None and to_ms <= from_ms:
        raise typer.BadParameter(f"{to} is not after {from_}, so nothing is in between", param_hint="--to")
    return Range(from_ms, to_ms, _offsets(offsets))


def _time(given: str | None, now_ms: int, option: str) -> int | None:
    if given is None:
        return None
    if given.isdecimal():
        return _milliseconds(int(given), option)
    if relative := _RELATIVE.fullmatch(given):
        return now_ms - round(float(relative[1]) * _UNITS_MS[relative[2]])
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise typer.BadParameter(
            f"{given!r} is no time: give ISO 8601 (2026-01-31T12:00, UTC unless it says otherwise), "
            "epoch milliseconds, or a span back from now: -90s, -30m, -1h, -7d",
            param_hint=option,
        ) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _milliseconds(given: int, option: str) -> int:
    if given < _MILLISECONDS_MIN:
        raise typer.BadParameter(f"{given} looks like seconds: give epoch milliseconds", param_hint=option)
    return given


def _offsets(given: list[str] | None) -> dict[int, tuple[int, int | None]] | None:
    if not given:
        return None
    found: dict[int, tuple[int, int | None]] = {}
    for text in given:
        match = _OFFSETS.fullmatch(text)
        if match is None:
            raise typer.BadParameter(
                f"{text!r} is no range of offsets: give PARTITION:FROM-TO as 0:100-200 (200 not included), or 0:100-",
                param_hint="--offsets",
            )
        partition, first, end = int(match[1]), int(match[2]), int(match[3]) if match[3] else None
        if end is not None and end <= first:
            raise typer.BadParameter(f"{text!r} ends where it begins, or before", param_hint="--offsets")
        if partition in found:
            raise typer.BadParameter(f"partition {partition} is given twice", param_hint="--offsets")
        found[partition] = (first, end)
    return found


class Progress:
    """Says on standard error what is being read, once it takes long."""

    def __init__(self) -> None:
        self._told_s = time.monotonic()

    def tell(self, topic: str, done: int, of: int) -> None:
        """So much of a topic was read."""
        now_s = time.monotonic()
        if now_s - self._told_s >= _TELL_EVERY_S:
            self._told_s = now_s
            print(f"reading {topic}: {done:,} of {of:,}", file=sys.stderr)
