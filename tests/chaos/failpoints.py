"""Every failpoint with its predicted end, tried one after the other in a few deployments on one Kafka.

A deployment has one account, one worker and steady load; its worker is started with one failpoint, ends or freezes
there, and is started again with the next, in the same group, on the same topics. At the end the last worker settles
everything, and then each prediction is held against the journal, the outcomes and the API's ledger, and the whole
against the audit. What must stay true: a failpoint that was not reached fails its case.
"""

import itertools
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from scripts.kafka import free_port
from streams.contracts.exits import ExitCode
from streams.failpoint import PLACES
from tests.chaos.arena import say
from tests.chaos.forked import fork
from tests.e2e.artefacts import Outcomes, audited, collect, findings_of
from tests.e2e.audit import Artefacts
from tests.e2e.world import PARTITIONS, Process, Worker, World, until

# After a crash the tokens of the pool rest for the minute that nobody knows of.
REACHED_TIMEOUT_S = 100.0
# Beyond the session of the tests' Kafka, below the timeout of a transaction.
FROZEN_S = 5.0
DELAY_S = 2.0
FINAL_TIMEOUT_S = 150.0
LOAD_PER_S = 100
# An account has ten tokens, and each crash lays one to rest for a minute.
CASES_MAX = 8


class Expected(NamedTuple):
    """What becomes of the batch that a failpoint names.

    ``journaled``: its attempt is in the journal. ``applied`` are the least and the most times that the API applies it.
    ``flagged``: its outcomes say that they may be duplicates. ``None`` where chance decides.
    """

    journaled: bool | None
    applied: tuple[int, int]
    flagged: bool | None


UNTOUCHED = Expected(journaled=False, applied=(0, 0), flagged=False)
SENT_AGAIN = Expected(journaled=True, applied=(1, 1), flagged=True)
APPLIED_TWICE = Expected(journaled=True, applied=(2, 2), flagged=True)
ONCE = Expected(journaled=True, applied=(1, 1), flagged=False)

# What becomes of a batch when the process dies at a place that names one.
KILLED: dict[str, Expected] = {
    # The transaction is aborted: the intents are read again and end in another batch.
    "intent_before_produce": UNTOUCHED,
    "intent_after_produce": UNTOUCHED,
    # Open in the journal: it may have been sent, so it is flagged and sent again. Nobody had sent it.
    "intent_after_ack": SENT_AGAIN,
    "slot_granted": SENT_AGAIN,
    "post_before_send": SENT_AGAIN,
    "post_mid_body": SENT_AGAIN,
    # Written to the kernel: the API has it all, unless it noticed the end of the connection first.
    "post_after_send": Expected(journaled=True, applied=(1, 2), flagged=True),
    "post_after_response": APPLIED_TWICE,
    "accepted_before_produce": APPLIED_TWICE,
    "accepted_after_produce": APPLIED_TWICE,
    # From here on it is known to be accepted: whatever dies, it is not sent again.
    "accepted_after_ack": ONCE,
    "check_before_get": ONCE,
    "check_after_get": ONCE,
    "status_before_produce": ONCE,
    "status_after_produce": ONCE,
    "status_after_ack": ONCE,
}

# Frozen beyond the session and woken up: the lease is gone, but nothing stops what had passed the last check.
FROZEN: dict[str, Expected] = KILLED | {
    "post_before_send": Expected(journaled=True, applied=(1, 2), flagged=True),
    "post_mid_body": Expected(journaled=True, applied=(1, 2), flagged=True),
}

# Late but not gone: as if nothing had happened.
LATE: dict[str, Expected] = dict.fromkeys(KILLED, ONCE)

EXPECTED = {"kill": KILLED, "raise": KILLED, "stop": FROZEN, "delay": LATE}

# How the process ends. One that was frozen may find that Kafka goes on without it.
CODES: dict[str, tuple[int, ...]] = {
    "kill": (-signal.SIGKILL,),
    "raise": (ExitCode.CRASH,),
    "stop": (ExitCode.DONE, ExitCode.CRASH, ExitCode.WATCHDOG),
    "delay": (ExitCode.DONE,),
}

# Reached only when the worker is told to stop.
AT_THE_END = frozenset({"revoke_begin", "revoke_end", "drain_begin", "drain_end"})

# The first time would be at the start, before there is work to lose.
LATER = {"route_commit": 3, "lanes_commit": 8, "after_poll": 3, "post_before_send": 2, "accepted_before_produce": 2}


class Case(NamedTuple):
    """One failpoint: a place of :data:`streams.failpoint.PLACES` and an action."""

    place: str
    action: str

    @property
    def spec(self) -> str:
        """The value of the variable."""
        nth = next((nth for start, nth in LATER.items() if self.place.startswith(start)), 1)
        delay = f":{DELAY_S:g}" if self.action == "delay" else ""
        return f"{self.place}:{self.action}{delay}:{nth}"


@dataclass(slots=True)
class Tried:
    """A case that was tried: the batch that the place named, if any, and what went wrong so far.

    ``ends`` is where the journal ended by partition once the place had been reached.
    """

    case: Case
    ends: dict[int, int] = field(default_factory=dict)
    batch_ref: str = ""
    code: int | None = None
    wrong: list[str] = field(default_factory=list)


KILLS = tuple(Case(place, "kill") for place in PLACES)
ALL = tuple(Case(place, action) for action in CODES for place in PLACES)


def try_all(cases: Sequence[Case], new_world: Callable[..., World], *, side_by_side: int, protocol: str) -> list[Tried]:
    """Try ``cases`` in so many deployments at a time. ``new_world`` makes one."""
    worlds = max(side_by_side, math.ceil(len(cases) / CASES_MAX))
    shares = [cases[number::worlds] for number in range(worlds)]
    with ThreadPoolExecutor(side_by_side) as pool:
        running = [pool.submit(try_in_turn, share, new_world, protocol) for share in shares if share]
        return [tried for each in running for tried in each.result()]


def try_in_turn(cases: Sequence[Case], new_world: Callable[..., World], protocol: str) -> list[Tried]:
    """Try ``cases`` one after the other in one deployment, settle, and judge."""
    world = new_world(accounts=1, lane={"in_flight_max_per_token": 1}).make_topics()
    world.launch = fork
    # A token outlives its worker, in the journal: unless one is refused now and then, nobody mints another.
    world.start_api(status_delay_s=0.2, faults="check.401=0.05")
    outcomes = Outcomes(world)
    with world.load(LOAD_PER_S):
        tried = [_try(world, case, protocol) for case in cases]
    last = world.start_worker("worker-0", protocol)
    outcomes.until_final(world.published, FINAL_TIMEOUT_S)
    last.signal(signal.SIGTERM)
    code = last.wait(40)
    found = collect(world, outcomes)
    findings = findings_of(audited(world, found))
    _judge(tried, found)
    general = Tried(Case("all of them", "settle"), code=code)
    if code != ExitCode.DONE:
        general.wrong.append(f"the last worker ended with {code}")
    general.wrong += [f"{finding.name}: {finding.where}" for finding in findings[:5]]
    outcomes.close()
    return [*tried, general]


def _try(world: World, case: Case, protocol: str) -> Tried:
    if case.place.startswith("command"):
        _command(world)
    worker = world.start_worker("worker-0", protocol, failpoints=case.spec)
    tried = Tried(case)
    try:
        reached = _until_reached(world, worker, case)
        world.note_crash()
        tried.ends = world.crashes[-1]
        tried.batch_ref = reached["detail"]
        tried.code = _until_ended(world, worker, case)
    except AssertionError as missed:
        tried.wrong.append(str(missed))
        worker.signal(signal.SIGCONT)
        world.kill(worker)
    else:
        if tried.code not in CODES[case.action]:
            tried.wrong.append(f"ended with {tried.code}: {worker.said()[-500:]}")
    say(f"{case.place}:{case.action} " + ("; ".join(tried.wrong) or f"ended with {tried.code}"))
    return tried


def _command(world: World) -> None:
    """Leave a command that changes nothing in the parcels, for the next worker to apply."""
    config = str(world.config("operator", "consumer", free_port()))
    log = world.directory / f"operator-{len(world.processes)}.log"
    arguments = ["accounts", "resume", world.accounts[0].id, "--wait-s", "0", "--config", config]
    process = Process(log, *arguments, launch=fork)
    world.processes.append(process)
    assert process.wait(30) == ExitCode.DONE, process.said()


def _until_reached(world: World, worker: Worker, case: Case) -> dict[str, Any]:
    if case.place in AT_THE_END:
        _until_at_work(world, worker)
        worker.signal(signal.SIGTERM)
    reached = until(
        lambda: worker.events("failpoint_reached") or worker.code is not None,
        REACHED_TIMEOUT_S,
        lambda: f"{case.spec} is reached; it said {worker.said()[-500:]}",
    )
    events = reached if isinstance(reached, list) else worker.events("failpoint_reached")
    assert events, f"ended with {worker.code} without reaching {case.spec}: {worker.said()[-500:]}"
    event: dict[str, Any] = events[0]
    assert event["place"] == case.place
    return event


def _until_at_work(world: World, worker: Worker) -> None:
    until(lambda: len(worker.owned()) == PARTITIONS, REACHED_TIMEOUT_S, "it owns all partitions")
    began_s = time.monotonic()
    until(lambda: world.called_s() > began_s, REACHED_TIMEOUT_S, "it calls the API")


def _until_ended(world: World, worker: Worker, case: Case) -> int:
    if case.action == "stop":
        woken_s = time.monotonic() + FROZEN_S
        until(lambda: time.monotonic() > woken_s, FROZEN_S + 1, "the frozen time is over")
        worker.signal(signal.SIGCONT)
    if case.action in {"stop", "delay"}:
        began_s = time.monotonic() + (DELAY_S if case.action == "delay" else 0.0)
        until(
            lambda: worker.code is not None or world.called_s() > began_s or case.place in AT_THE_END,
            REACHED_TIMEOUT_S,
            lambda: f"it goes on after {case.spec}; it said {worker.said()[-500:]}",
        )
        worker.signal(signal.SIGTERM)
    return worker.wait(45)


def _judge(tried: Sequence[Tried], found: Artefacts) -> None:
    """Hold each case against its prediction.

    A batch that met the crashes of other cases, too, was sent again, and may have been applied once more at each of
    them; or at none, and then it ends as unknown.
    """
    applied = Counter(
        (record[1].lstrip("+"), record[3])
        for line in found.ledger
        if line["kind"] == "post" and line.get("applied")
        for record in line["records"]
    )
    flagged = {each.source for each in found.outcomes if each.final and each.possible_duplicate}
    for each in tried:
        expected = EXPECTED[each.case.action].get(each.case.place)
        if expected is not None and not each.wrong:
            # Inside the API's client no batch is known: it is the one that is open.
            opened = [ref for ref, story in found.journal.items() if story.open_at(each.ends)]
            ref = each.batch_ref or (opened[0] if opened else "none")
            crashes = (other for other in tried if other is not each and other.case.action != "delay")
            others = sum(_hit(other, ref, found) for other in crashes)
            if others:
                expected = Expected(journaled=None, applied=(0, expected.applied[1] + others), flagged=None)
            each.wrong += _wrong(expected, ref, found, applied, flagged)


def _hit(tried: Tried, ref: str, found: Artefacts) -> bool:
    story = found.journal.get(ref)
    return tried.batch_ref == ref or (story is not None and story.open_at(tried.ends))


def _wrong(
    expected: Expected, ref: str, found: Artefacts, applied: Counter[tuple[str, int]], flagged: set[Any]
) -> Iterator[str]:
    story = found.journal.get(ref)
    if expected.journaled not in {None, story is not None}:
        yield f"batch {ref} is {'' if story else 'not '}in the journal"
    for source in story.sources if story is not None else ():
        intent = found.intents[source]
        times = applied[intent.receiver or "", intent.starts_at or 0]
        if not expected.applied[0] <= times <= expected.applied[1]:
            yield f"batch {ref} was applied {times} times, not {expected.applied}"
            return
        if expected.flagged not in {None, source in flagged}:
            yield f"batch {ref} is {'' if source in flagged else 'not '}flagged"
            return


def told(tried: Sequence[Tried]) -> str:
    """One line for each case that went wrong."""
    return "\n".join(f"{each.case.place}:{each.case.action}: {wrong}" for each in tried for wrong in each.wrong)


def run(directory: Path, bootstrap: str, cases: Sequence[Case], *, side_by_side: int, protocol: str) -> list[Tried]:
    """Try ``cases`` on the Kafka at ``bootstrap``, with all files in ``directory``; ends every process it started."""
    worlds: list[World] = []
    # Several threads make worlds; counting what was made would give two the same number.
    numbers = itertools.count()

    def new_world(**settings: Any) -> World:
        own = directory / f"world-{next(numbers)}"
        own.mkdir()
        world = World(bootstrap, own, **settings)
        worlds.append(world)
        return world

    try:
        return try_all(cases, new_world, side_by_side=side_by_side, protocol=protocol)
    finally:
        for world in worlds:
            world.end()
