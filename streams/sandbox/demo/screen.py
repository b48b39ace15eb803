"""Where the demo is shown: a live frame on a terminal, a line every two seconds anywhere else."""

import sys
import termios
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, Protocol, Self

from rich.console import Console
from rich.live import Live

from streams.contracts.outcome import Status
from streams.sandbox.demo.picture import Phase, Picture
from streams.sandbox.demo.view import clock, draw

_LINE_PERIOD_S: Final = 2.0


class Screen(Protocol):
    """Shows pictures while its ``with`` block runs."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, *_: object) -> None:
        """Leave the last picture where it is."""

    def show(self, picture: Picture) -> None:
        """Show this one instead of the last."""


class LiveScreen:
    """A frame that is redrawn in place; the last one stays in the scrollback."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stack = ExitStack()
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._stack.enter_context(_keys_unseen())
        self._stack.enter_context(self._live)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def show(self, picture: Picture) -> None:
        """Redraw."""
        self._live.update(draw(picture, self._console.width), refresh=True)


class LineScreen:
    """A plain line every two seconds, and one whenever the phase changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase: Phase | None = None
        self._next_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, picture: Picture) -> None:
        """Print a line if it is time for one."""
        # Being held back comes and goes many times a second.
        phase = Phase.DIALING if picture.phase is Phase.HELD_BACK else picture.phase
        if phase is self._phase and picture.elapsed_s < self._next_s:
            return
        self._phase, self._next_s = phase, picture.elapsed_s + _LINE_PERIOD_S
        self._console.print(line(picture), highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _keys_unseen() -> Iterator[None]:
    """Let the terminal not show ^C: behind the last column it would break the line, and push the frame down."""
    if not sys.stdin.isatty():
        yield
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    quiet = termios.tcgetattr(terminal)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def screen_on(console: Console) -> Screen:
    """Return the screen that suits the console."""
    return LiveScreen(console) if console.is_terminal else LineScreen(console)


def line(picture: Picture) -> str:
    """Return the picture as one line."""
    parts = [
        f"{clock(picture.elapsed_s):>5}  {picture.phase:<9}",
        f"in {picture.published:,}",
        f"unread {picture.unread:,}",
        f"waiting {picture.waiting:,}",
        f"accepted {picture.accepted:,}",
        f"batches {picture.batches:,}",
        f"delivered {picture.final.get(Status.DELIVERED, 0):,}",
        f"failed {picture.final.get(Status.FAILED, 0):,}",
        f"dead letters {sum(picture.dead_letters.values()):,}",
    ]
    if picture.eta_s:
        parts.append(f"all final in about {clock(picture.eta_s)}")
    return "  ".join(parts)
