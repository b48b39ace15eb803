"""Places where a test may end, freeze, delay or fail a worker: between any two steps that a crash could separate.

``CALLSTREAM_FAILPOINT=post_after_send:kill`` ends the process by SIGKILL when it gets there, ``…:kill:3`` the third
time; several are separated by commas. The variable is read by ``callstream worker`` alone; no settings file can say it.
A place costs one test for ``None`` while nothing is armed::

    if failpoint.hit is not None:
        failpoint.hit("commit_before")

What must stay true: every name in :data:`PLACES` is hit somewhere, and nothing is hit that is not in it; whatever is
done here is logged before it is done, so that a test can tell a place that was reached from one that was not.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import structlog

from streams.contracts.exits import OperatorError

log = structlog.stdlib.get_logger(__name__)

VARIABLE: Final = "CALLSTREAM_FAILPOINT"

# What a unit of a commit can be of. For each there are three places, in the committer's thread.
STEPS: Final = {
    "dlq": "a chunk of intents with dead letters",
    "intent": "a batch that is opened, before its POST",
    "accepted": "the API's answer that took a batch",
    "status": "the final outcomes that a status check brought",
    "mint": "an attempt to mint a token, before it is made",
    "command": "what an operator's command changed, and its answer",
}

PLACES: Final = {
    "after_poll": "messages were read, nothing was handed over (poll thread)",
    "after_validate": "a chunk of intents was judged, nothing was handed to the committer",
    "after_decode": "a chunk of parcels is in the windows of its lanes, nothing of it was taken",
    "batch_closed": "a batch was filled and its slot reserved, nothing was handed to the committer",
    "slot_granted": "a batch is durable in the journal, the lease is not yet confirmed for its POST",
    "post_before_send": "the lease was confirmed, the POST begins",
    "post_mid_body": "half of the POST's body was written",
    "post_after_send": "the POST's body was written, no answer was read",
    "post_after_response": "the POST's answer was read, nothing was done about it",
    "check_before_get": "the lease was confirmed, a status check begins",
    "check_after_get": "the answer to a status check was read, nothing was done about it",
    "token_before_get": "the attempt is journaled and the lease confirmed, the mint begins",
    "token_after_get": "the answer to a mint was read, nothing was done about it",
    **{f"{step}_before_produce": f"{what}: taken by the committer, not produced" for step, what in STEPS.items()},
    **{f"{step}_after_produce": f"{what}: produced, the transaction is open" for step, what in STEPS.items()},
    **{f"{step}_after_ack": f"{what}: committed, nobody was told" for step, what in STEPS.items()},
    **{
        f"{name}_commit_{when}": f"the committer of {name}: {what}"
        for name in ("route", "lanes")
        for when, what in (
            ("offsets", "messages are flushed, offsets are not yet sent"),
            ("before", "offsets are sent, the commit is not asked for"),
            ("after", "committed"),
        )
    },
    "takeover_begin": "a parcels partition was assigned, its journal was not read",
    "takeover_replayed": "its journal was read, no lane was rebuilt",
    "takeover_end": "its lanes are rebuilt and run",
    "revoke_begin": "partitions are to be given up, nothing was done about it",
    "revoke_end": "their work is committed, they are not yet given up",
    "drain_begin": "the worker was told to stop, nothing was done about it",
    "drain_end": "everything is handed over, the process is about to end",
}

ACTIONS: Final = ("kill", "stop", "raise", "delay")


class FailpointRaised(Exception):
    """What the action ``raise`` raises."""


class UnknownFailpoint(OperatorError):
    """The variable names a place or an action that does not exist."""


@dataclass(frozen=True, slots=True)
class Failpoint:
    """What to do at a place: ``action`` at the ``nth`` time it is reached, once. ``delay_s`` goes with ``delay``."""

    place: str
    action: str
    nth: int = 1
    delay_s: float = 0.0


class Armed:
    """Failpoints that wait for their place. Any thread."""

    def __init__(self, failpoints: list[Failpoint]) -> None:
        self._waiting = {each.place: each for each in failpoints}
        self._left = {each.place: each.nth for each in failpoints}
        self._lock = threading.Lock()

    def hit(self, place: str, detail: str = "") -> None:
        """Report that ``place`` is reached; ``detail`` goes into the log line. May not return.

        Raises:
            FailpointRaised: the action is ``raise``.
        """
        assert place in PLACES, place
        with self._lock:
            if place not in self._left:
                return
            self._left[place] -= 1
            if self._left[place] > 0:
                return
            del self._left[place]
        self._act(self._waiting[place], detail)

    def _act(self, failpoint: Failpoint, detail: str) -> None:
        log.warning("failpoint_reached", place=failpoint.place, action=failpoint.action, detail=detail)
        match failpoint.action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "raise":
                raise FailpointRaised(failpoint.place)
            case _:
                time.sleep(failpoint.delay_s)  # a step that takes long holds up the thread that takes it


hit: Callable[..., None] | None = None
"""Called at every place, with its name and a detail; ``None`` while nothing is armed, which is always in production."""


def parse(spec: str) -> list[Failpoint]:
    """Read ``place:action[:nth]`` or ``place:delay:seconds[:nth]``, separated by commas.

    Raises:
        UnknownFailpoint: an item is not understood; the text lists what would be.
    """
    return list(_items(spec))


def arm(spec: str) -> None:
    """Arm what ``spec`` says, for the rest of the process; an empty one arms nothing.

    Raises:
        UnknownFailpoint: as :func:`parse`.
    """
    global hit  # noqa: PLW0603 - a switch of the whole process, which every place reads in one step
    failpoints = parse(spec)
    if failpoints:
        hit = Armed(failpoints).hit
        log.warning("failpoints_armed", places=[each.place for each in failpoints], remedy="for tests only")


def _items(spec: str) -> Iterator[Failpoint]:
    for item in filter(None, (part.strip() for part in spec.split(","))):
        place, *rest = item.split(":")
        action = rest.pop(0) if rest else ""
        if place not in PLACES:
            raise UnknownFailpoint(f"{VARIABLE}: there is no place {place!r}; there are: {', '.join(PLACES)}")
        if action not in ACTIONS:
            raise UnknownFailpoint(f"{VARIABLE}: {item!r} names no action; there are: {', '.join(ACTIONS)}")
        try:
            delay_s = float(rest.pop(0)) if action == "delay" else 0.0
            nth = int(rest.pop(0)) if rest else 1
        except (IndexError, ValueError):
            rest = ["unreadable"]
        if rest or nth < 1 or not 0 <= delay_s < threading.TIMEOUT_MAX:
            raise UnknownFailpoint(
                f"{VARIABLE}: {item!r} is neither {place}:{action}[:nth] nor {place}:delay:seconds[:nth]"
            )
        yield Failpoint(place, action, nth, delay_s)
