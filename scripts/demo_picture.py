"""Draw the README's picture of the demo, from a real run: ``uv run python scripts/demo_picture.py docs/demo.svg``."""

import argparse
import asyncio
from pathlib import Path
from typing import Self

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from streams.sandbox.demo.picture import Phase, Picture
from streams.sandbox.demo.screen import LineScreen
from streams.sandbox.demo.show import DemoOptions, run_demo
from streams.sandbox.demo.view import draw
from streams.sandbox.fake_api import FaultPlan

WIDTH = 104


class Photographer:
    """A screen that prints lines and keeps the first picture at or after ``at_s``."""

    def __init__(self, at_s: float) -> None:
        self.taken: Picture | None = None
        self._at_s = at_s
        self._lines = LineScreen(Console())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, picture: Picture) -> None:
        """Look at one picture."""
        self._lines.show(picture)
        if self.taken is None and picture.elapsed_s >= self._at_s and picture.phase is Phase.DIALING:
            self.taken = picture


def svg(picture: Picture) -> str:
    """Return the frame as SVG that loads nothing from elsewhere."""
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=WIDTH, force_terminal=True, color_system="truecolor", file=nowhere)
        console.print(draw(picture, WIDTH))
        faces_from = CONSOLE_SVG_FORMAT.index("@font-face")
        faces_to = CONSOLE_SVG_FORMAT.index(".{unique_id}-matrix")
        template = CONSOLE_SVG_FORMAT[:faces_from] + CONSOLE_SVG_FORMAT[faces_to:]
        template = template.replace(
            "Fira Code, monospace", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"
        )
        return console.export_svg(title="callstream demo", code_format=template, unique_id="demo")


def main() -> None:
    """Run the demo for a little longer than the moment of the picture."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--at", type=float, default=48.0, metavar="SECONDS")
    arguments.add_argument("--rate", type=float, default=1000.0)
    arguments.add_argument("--seed", type=int, default=7)
    given = arguments.parse_args()
    options = DemoOptions(
        rate=given.rate,
        accounts=5,
        seed=given.seed,
        duration_s=max(60.0, given.at + 1),
        settle_s=0,
        bad_share=0.01,
        faults=FaultPlan.parse("429=0.02"),
    )
    screen = Photographer(given.at)
    asyncio.run(run_demo(options, screen))
    if screen.taken is None:
        raise SystemExit("the demo ended before the picture could be taken")
    given.file.write_text(svg(screen.taken), encoding="utf-8")


if __name__ == "__main__":
    main()
