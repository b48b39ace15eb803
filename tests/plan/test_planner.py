"""What a plan says of intents, and that its figures add up."""

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contracts.parcel import Row
from streams.lane.options import LaneOptions
from streams.lane.reading import Room
from streams.plan.planner import COMPARED_MAX
from streams.plan.rehearsal import Rehearsal, Weather
from tests.plan.making import ACCOUNT, HOUR_MS, OTHER, START_MS, intent, planned, planner

AT_ONCE = [(0.0, intent(number)) for number in range(1_200)]


def test_nothing_is_a_plan_too():
    plan = planned([])
    assert (plan.read, plan.sent, plan.all_sent, list(plan.remarks())) == (0, 0, True, [])
    assert orjson.loads(orjson.dumps(plan.told()))["batches"] == 0


def test_a_flood_leaves_in_full_batches():
    plan = planned(AT_ONCE)
    (account,) = plan.accounts
    assert (plan.read, plan.sent, plan.all_sent) == (1_200, 1_200, True)
    assert (account.batches, account.full_batches) == (3, 2)
    assert account.requests == {"check": 3, "mint": 1, "post": 3}
    assert account.known_s > 5.0 > account.drained_s


def test_statuses_none_asks_for_none():
    plan = planned(AT_ONCE, statuses="none")
    assert plan.requests() == {"mint": 1, "post": 3}


def test_a_trickle_leaves_after_the_linger_one_by_one():
    plan = planned([(10.0 * number, intent(number)) for number in range(5)])
    assert plan.total("batches") == 5
    waits = plan.priorities["normal"]
    assert waits.p50_s is not None
    assert 0.25 < waits.p50_s < 0.6


def test_what_is_invalid_is_counted_by_reason_with_the_first_place():
    bad = intent(7, receiver="12")
    plan = planned([(0.0, intent(1)), (0.0, bad), (0.0, b"{"), (0.0, bad)])
    told = {code: (found.count, found.first) for code, found in plan.invalid.items()}
    assert told == {"malformed_phone": (2, "line 2"), "not_json": (1, "line 3")}
    assert (plan.sent, plan.invalid_count, plan.all_sent) == (1, 3, False)
    assert orjson.loads(orjson.dumps(plan.told()))["invalid"]["not_json"]["count"] == 1


def test_no_text_of_a_plan_quotes_an_intent():
    plan = planned([(0.0, intent(1)), (0.0, intent(7, receiver="+91 80123 45678"))])
    assert not {"918011111111", "80123", "91600"} & set(str(plan.told()).replace("'", " ").split())


def test_what_is_over_on_arrival_is_expired_and_all_of_it_asks_for_another_time():
    plan = planned([(0.0, intent(1, lead_ms=-2 * HOUR_MS))])
    assert (plan.expired_on_arrival, plan.sent, plan.accounts) == (1, 0, [])
    assert "--now" in next(plan.remarks())


def test_calls_that_are_over_before_their_turn_expire_by_priority_and_the_shortage_is_named():
    short = [
        (0.0, intent(number, lead_ms=0, valid_ms=60_000, priority="high" if number < 400 else "low"))
        for number in range(33_000)
    ]
    plan = planned(short, tokens_max=1)
    assert plan.expired_waiting > 10_000
    assert plan.priorities["high"].expired == 0
    assert plan.priorities["low"].expired == plan.expired_waiting
    (remark,) = plan.remarks()
    assert "would expire unsent" in remark
    assert "needs 3 tokens and it may use 1" in remark


def test_what_leaves_after_its_deadline_is_late():
    plan = planned([(0.0, intent(1, lead_ms=0, priority="high")), (0.0, intent(2, lead_ms=0, priority="low"))])
    assert (plan.priorities["high"].late, plan.priorities["low"].late) == (1, 0)


def test_a_busy_account_uses_more_tokens():
    plan = planned([(number / 800, intent(number)) for number in range(40_000)], statuses="none")
    (account,) = plan.accounts
    assert 1 < account.tokens <= account.tokens_max
    assert account.tokens_needed == 2


def test_a_full_lane_leaves_the_rest_outside_and_loses_none():
    plan = planned(AT_ONCE, intents_max=500)
    assert (plan.sent, plan.total("batches")) == (1_200, 3)


def test_no_more_wait_in_memory_than_a_lane_and_a_worker_may_hold():
    room = Room(700)
    lanes = [Rehearsal(LaneOptions(name, intents_max=600, records_max=100), Weather(), room, START_MS) for name in "ab"]
    ends_at = START_MS + 10 * HOUR_MS
    for number in range(3_000):
        row = Row(0, "", "1", str(number), "", START_MS + HOUR_MS, ends_at, recorded_at=START_MS)
        lanes[number % 2].arrive(row, 0.0)
        assert room.held <= 700 + 2 * 100
        assert all(lane._held <= 600 + 100 for lane in lanes)
    for lane in lanes:
        lane.finish()
        assert lane.tally.fates["normal"].sent == 1_500
    assert room.held == 0


def test_an_intent_does_not_wait_for_the_next_status_check():
    plan = planned([(at_s, intent(number, lead_ms=HOUR_MS)) for number, at_s in enumerate((0.0, 2.0, 3.5, 60.0))])
    waits = plan.priorities["normal"]
    assert waits.most_s is not None
    assert waits.most_s < 1.5
    assert plan.total("batches") == 4


def test_lingers_are_compared_over_the_same_intents():
    pairs = [(number // 2 * 3.0 + number % 2 * 0.1, intent(number)) for number in range(40)]
    plan = planned(pairs, lingers_ms=(0, 250, 5_000))
    lower, usual, longer = plan.lingers
    assert [linger.linger_ms for linger in plan.lingers] == [0, 250, 5_000]
    assert lower.batches > usual.batches > longer.batches
    assert (usual.batches, usual.requests) == (plan.total("batches"), sum(plan.requests().values()))
    assert plan.compared == 40 <= COMPARED_MAX


def test_a_clock_that_goes_back_is_not_followed():
    plan = planned([(10.0, intent(1)), (3.0, intent(2)), (10.1, intent(3))])
    assert (plan.first_ms, plan.last_ms) == (START_MS + 10_000, START_MS + 10_100)
    assert plan.total("batches") == 1


def test_accounts_are_told_apart():
    plan = planned([(0.0, intent(1)), (0.0, intent(2, account_id=OTHER)), (0.0, intent(3))])
    assert {account.account_id: account.intents for account in plan.accounts} == {ACCOUNT: 2, OTHER: 1}


def test_the_same_intents_give_the_same_plan():
    assert planned(AT_ONCE).told() == planned(AT_ONCE).told()


MESSAGES = st.tuples(
    st.floats(0, 90),
    st.sampled_from(["good", "good", "good", "bad", "over", "short"]),
    st.sampled_from([ACCOUNT, OTHER]),
    st.sampled_from(["high", "normal", "low"]),
    st.integers(0, 40),
)


def message(number: int, kind: str, account: str, priority: str, receiver: int) -> bytes:
    changes: dict[str, Any] = {"account_id": account, "priority": priority}
    if kind == "bad":
        return intent(number, **changes, receiver="none")
    lead_ms = -2 * HOUR_MS if kind == "over" else 60_000
    valid_ms = 1_000 if kind == "short" else HOUR_MS
    return intent(receiver, lead_ms=lead_ms, valid_ms=valid_ms, **changes)


@given(st.lists(MESSAGES, max_size=60), st.sampled_from(["all", "best_effort", "none"]), st.integers(1, 30))
@settings(deadline=None, max_examples=60)
def test_figures_add_up(messages, statuses, records_max):
    messages.sort(key=lambda one: one[0])
    arrivals = [(at_s, message(number, *rest)) for number, (at_s, *rest) in enumerate(messages)]
    plan = planned(arrivals, statuses=statuses, records_max=records_max, tokens_max=1, intents_max=20)
    assert plan.read == len(messages)
    assert plan.read == plan.sent + plan.invalid_count + plan.expired_on_arrival + plan.expired_waiting
    by_priority = plan.priorities.values()
    assert sum(found.sent for found in by_priority) == plan.sent
    assert sum(found.expired for found in by_priority) == plan.expired_waiting
    assert all(found.late <= found.sent for found in by_priority)
    requests = plan.requests()
    batches = plan.total("batches")
    assert batches == requests.get("post", 0) <= sum(requests.values())
    assert -(-plan.sent // records_max) <= batches <= plan.sent
    assert plan.total("full_batches") <= batches
    assert requests.get("check", 0) >= batches or statuses != "all"
    assert all(account.busiest_minute <= 60 for account in plan.accounts)
    assert all(account.intents == account.sent + account.expired for account in plan.accounts)


def test_an_unfinished_plan_has_read_nothing():
    assert planner().plan().told()["read"] == 0
