"""A plan says what a worker then does: the same intents, planned and run, on virtual time."""

import asyncio
from random import Random
from typing import Any

import pytest

from streams.contracts.parcel import Row
from streams.lane.options import LaneOptions
from streams.lane.verdict import Accepted, Minted, RecordState, Statuses
from streams.plan.planner import Arrival, Planner, PlanOptions
from streams.worker.clock import boot_s
from tests.lane.making import record
from tests.plan.making import RULES, intent
from tests.worker.parts import ACCOUNT, Shell, chunk_of, parcel, row
from tests.worker.virtual import START_MS, START_S, settled

ANSWER_S = 0.2
STATUS_DELAY_S = 5.0

# What the plan may be off by: it hands intents over in other portions than Kafka does.
TOLERANCE = 0.1


class Perfect:
    """Takes everything, as the API of a plan does."""

    def __init__(self) -> None:
        self.mints = self.checks = 0
        self.posts_s: list[float] = []
        self._taken_s: dict[str, tuple[float, list[Row]]] = {}

    async def mint(self, _account_id):
        self.mints += 1
        await asyncio.sleep(ANSWER_S)  # virtual: the API takes its time
        return Minted(f"token-{self.mints}")

    async def post(self, _account_id, action):
        self.posts_s.append(boot_s())
        await asyncio.sleep(ANSWER_S)  # virtual
        self._taken_s[action.batch_ref] = boot_s(), [held.row for held in action.held]
        return Accepted(action.batch_ref)

    async def check(self, _account_id, action):
        self.checks += 1
        taken_s, rows = self._taken_s[action.batch_ref]
        known = boot_s() - taken_s >= STATUS_DELAY_S
        await asyncio.sleep(ANSWER_S)  # virtual
        return Statuses(tuple(record(each, RecordState.DELIVERED) for each in rows if known))


def arrivals(count: int, rate: float) -> list[tuple[float, str]]:
    """When each intent arrives, in bursts of chance, and its priority."""
    random = Random(1)
    at_s, found = 0.0, []
    for _ in range(count):
        at_s += random.expovariate(rate)
        found.append((at_s, random.choice(["high", "normal", "normal", "low"])))
    return found


def run(play, due, **options):
    """The batches, requests and seconds of a worker that is given these intents in the portions of a poll."""

    async def story():
        shell = Shell(**options)
        api: Any = Perfect()
        shell.runner.requests = api
        offset = number = 0
        while number < len(due):
            await asyncio.sleep(0.02)  # virtual: the next poll
            rows = []
            while number < len(due) and START_S + due[number][0] <= boot_s():
                at_ms = START_MS + round(due[number][0] * 1000)
                rows.append(row(number, recorded_at=at_ms, priority=due[number][1]))
                number += 1
            if rows:
                shell.runner.take(chunk_of(shell.lease, offset, parcel(*rows)))
                offset += 1
        while not shell.lane.idle:
            await asyncio.sleep(1.0)  # virtual
        await settled()
        shell.stop()
        assert not shell.fatal
        posts = len(api.posts_s)
        return posts, posts + api.checks + api.mints, api.posts_s[-1] + ANSWER_S - START_S

    return play(story)


@pytest.mark.parametrize(
    ("count", "rate", "options"),
    [
        pytest.param(60, 0.2, {}, id="a trickle"),
        pytest.param(3_000, 30.0, {}, id="busy"),
        pytest.param(3_000, 30.0, {"statuses": "none"}, id="busy, without statuses"),
        pytest.param(3_000, 1e6, {"records_max": 50, "tokens_max": 2}, id="a flood"),
    ],
)
def test_a_plan_agrees_with_a_worker(play, count, rate, options):
    due = arrivals(count, rate)
    planner = Planner(PlanOptions(RULES, lambda account_id: LaneOptions(account_id, **options), 400_000))
    for number, (at_s, priority) in enumerate(due):
        at_ms = START_MS + round(at_s * 1000)
        value = intent(number, at_ms=START_MS, account_id=ACCOUNT, priority=priority)
        planner.take(Arrival(at_ms, "here", value))
    plan = planner.plan()
    batches, requests, drained_s = run(play, due, **options)
    assert plan.sent == count
    assert plan.total("batches") == pytest.approx(batches, rel=TOLERANCE)
    assert sum(plan.requests().values()) == pytest.approx(requests, rel=TOLERANCE)
    assert due[0][0] + plan.accounts[0].drained_s == pytest.approx(drained_s, rel=TOLERANCE)
