"""The synthetic dialer: repeatable, joinable to a ledger, believable, fast, and bad in the ways it says."""

import re
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any
from uuid import UUID

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from streams.sandbox.accounts import accounts_of, accounts_yaml, synthetic_accounts
from streams.sandbox.dialer import BAD_KINDS, Dialed, Dialer
from streams.sandbox.pacer import CATCH_UP_S, Pacer

NOW_MS = 1_763_780_000_000
ACCOUNTS = synthetic_accounts(5, seed=7)


def read(dialed: Dialed) -> dict[str, Any]:
    fields: dict[str, Any] = orjson.loads(dialed.value)
    return fields


def spoilt(kind: str) -> Dialed:
    return next(dialed for dialed in Dialer(ACCOUNTS, seed=7, bad_share=1).take(1000, NOW_MS) if dialed.bad == kind)


def test_accounts_repeat_and_a_larger_set_begins_with_the_smaller() -> None:
    assert synthetic_accounts(10, seed=7)[:5] == ACCOUNTS
    assert synthetic_accounts(5, seed=8) != ACCOUNTS
    assert accounts_of(account.id for account in ACCOUNTS) == ACCOUNTS


def test_everything_of_an_account_is_its_own() -> None:
    accounts = synthetic_accounts(300)
    for name in ("id", "caller", "label_id", "key_id", "api_key"):
        assert len({getattr(account, name) for account in accounts}) == len(accounts), name
    assert all(str(UUID(account.id)) == account.id for account in accounts)
    assert all(re.fullmatch(r"[1-9][0-9]{7,14}", account.caller) for account in accounts)


def test_accounts_with_neighbouring_callers_do_not_share_one() -> None:
    first, second = accounts_of([str(UUID(int=5)), str(UUID(int=5 + 10**8))])
    assert int(second.caller) == int(first.caller) + 1


def test_an_account_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        accounts_of([ACCOUNTS[0].id, ACCOUNTS[0].id.upper()])


def test_no_account_is_not_a_set_of_accounts() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        synthetic_accounts(0)


def test_the_accounts_section_is_yaml_that_names_them_all() -> None:
    section = yaml.safe_load(accounts_yaml(ACCOUNTS))
    assert section == {"accounts": [{"id": a.id, "key_id": a.key_id, "api_key": a.api_key} for a in ACCOUNTS]}


def test_an_account_shows_neither_its_caller_nor_its_key() -> None:
    account = ACCOUNTS[0]
    assert not any(secret in repr(account) for secret in (account.caller, account.key_id, account.api_key))


def test_the_same_seed_gives_the_same_bytes_however_they_are_taken() -> None:
    one, other = Dialer(ACCOUNTS, seed=7), Dialer(ACCOUNTS, seed=7)
    assert one.take(300, NOW_MS) == other.take(100, NOW_MS) + other.take(200, NOW_MS)
    assert one.made == other.made == 300
    assert Dialer(ACCOUNTS, seed=8).take(1, NOW_MS) != Dialer(ACCOUNTS, seed=7).take(1, NOW_MS)


def test_a_good_intent_keeps_every_rule_of_the_contract() -> None:
    for dialed in Dialer(ACCOUNTS, seed=7, bad_share=0).take(2000, NOW_MS):
        intent = read(dialed)
        assert dialed.bad is None
        assert re.fullmatch(r"[A-Za-z0-9-]{1,64}", intent["intent_id"])
        assert re.fullmatch(r"[1-9][0-9]{7,14}", intent["receiver"])
        assert intent["receiver"] != intent["caller"]
        assert 3 <= len(intent["label_name"]) <= 40
        assert re.fullmatch(r"[A-Za-z ]{10,100}", intent.get("call_reason", "not always given"))
        assert intent["priority"] in {"high", "normal", "low"}
        assert len(orjson.dumps(intent.get("attributes", {}))) <= 512
        assert NOW_MS < intent["starts_at"] <= NOW_MS + 60_000
        assert 3_600_000 <= intent["ends_at"] - intent["starts_at"] <= 8 * 3_600_000


def test_a_caller_and_a_label_belong_to_one_account() -> None:
    callers, labels = defaultdict(set), defaultdict(set)
    for dialed in Dialer(ACCOUNTS, seed=7, bad_share=0).take(2000, NOW_MS):
        intent = read(dialed)
        assert intent["account_id"] == dialed.account_id
        callers[intent["caller"]].add(dialed.account_id)
        labels[intent["label_id"]].add(dialed.account_id)
    assert len(callers) == len(labels) == len(ACCOUNTS)
    assert all(len(owners) == 1 for owners in (*callers.values(), *labels.values()))


@given(
    receivers_max=st.integers(1, 50),
    steps=st.lists(st.tuples(st.integers(0, 40), st.integers(-5, 5)), min_size=1, max_size=8),
)
def test_receiver_and_start_name_one_intent_even_when_the_clock_steps_back(
    receivers_max: int, steps: list[tuple[int, int]]
) -> None:
    dialer, now_ms, names = Dialer(ACCOUNTS, bad_share=0, receivers_max=receivers_max), NOW_MS, []
    for count, step_ms in steps:
        now_ms += step_ms
        names += [(intent["receiver"], intent["starts_at"]) for intent in map(read, dialer.take(count, now_ms))]
    assert len(set(names)) == len(names) == dialer.made
    assert len({receiver for receiver, _ in names}) == min(receivers_max, len(names))


def test_the_mix_has_every_account_priority_and_bad_kind_in_its_share() -> None:
    taken = Dialer(ACCOUNTS, seed=7, bad_share=0.1).take(20_000, NOW_MS)
    accounts = Counter(dialed.account_id for dialed in taken)
    assert len(accounts) == len(ACCOUNTS)
    assert all(3600 < count < 4400 for count in accounts.values())
    bad = Counter(dialed.bad for dialed in taken if dialed.bad)
    assert 1800 < bad.total() < 2200
    assert set(bad) == set(BAD_KINDS)
    priorities = Counter(read(dialed)["priority"] for dialed in taken if dialed.bad is None)
    assert priorities["normal"] > priorities["high"] > 0 < priorities["low"]


@pytest.mark.parametrize(
    ("kind", "field", "looks"),
    [
        ("bad_phone", "receiver", r"\+91 \d{5}-\d{5}"),
        ("seconds_for_milliseconds", "starts_at", r"17637800\d\d"),
        ("unknown_account", "account_id", r"00000000-0000-4000-8000-000000000000"),
        ("label_name_long", "label_name", r"(Long ){9}"),
        ("label_missing", "label_id", r"None"),
    ],
    ids=lambda value: value if value in BAD_KINDS else "",
)
def test_a_bad_field_is_bad_in_the_way_it_says(kind: str, field: str, looks: str) -> None:
    assert re.fullmatch(looks, str(read(spoilt(kind)).get(field)))


def test_a_bad_pair_of_fields_is_bad_in_the_way_it_says() -> None:
    reversed_times, itself = read(spoilt("ends_before_start")), read(spoilt("calls_itself"))
    assert reversed_times["ends_at"] < reversed_times["starts_at"]
    assert itself["receiver"] == itself["caller"]
    callers = {read(dialed)["caller"] for dialed in Dialer(ACCOUNTS, bad_share=0).take(1000, NOW_MS)}
    assert itself["receiver"] not in callers, "else it would share its receiver with others that are spoilt"


def test_a_message_that_is_not_json_is_not() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(spoilt("not_json").value)


@pytest.mark.parametrize(
    "wrong", [{"bad_share": 1.5}, {"receivers_max": 0}, {"accounts": ()}], ids=["share", "receivers", "accounts"]
)
def test_a_dialer_of_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="bad_share"):
        Dialer(**{"accounts": ACCOUNTS, **wrong})


@given(
    rate_per_s=st.floats(0.5, 5000),
    waits_s=st.lists(st.floats(0, 5), min_size=1, max_size=50),
)
def test_the_pacer_never_exceeds_its_rate_and_its_catch_up(rate_per_s: float, waits_s: list[float]) -> None:
    pacer, now_s, passed = Pacer(rate_per_s, 0.0, burst_max=10**9), 0.0, [(0.0, 0)]
    for wait_s in waits_s:
        now_s += wait_s
        passed.append((now_s, pacer.due(now_s)))
    for begin in range(1, len(passed)):
        total = sum(count for _, count in passed[begin:])
        spent_s = now_s - passed[begin - 1][0]
        assert total <= rate_per_s * (spent_s + CATCH_UP_S) + 1


def test_the_pacer_keeps_its_rate_when_asked_as_often_as_it_says() -> None:
    pacer, now_s, passed = Pacer(250.0, 0.0), 0.0, 0
    while now_s < 10:
        passed += pacer.due(now_s)
        assert pacer.wait_s() > 0
        now_s += pacer.wait_s()
    assert passed == pytest.approx(2500, abs=2)


def test_a_pacer_without_a_rate_never_waits() -> None:
    pacer = Pacer(0, 0.0, burst_max=64)
    assert [pacer.due(now_s) for now_s in (0.0, 0.0, 1.0)] == [64, 64, 64]
    assert pacer.wait_s() == 0


def test_numbers_of_intents_follow_each_other() -> None:
    numbers = [
        int(read(dialed)["intent_id"].split("-")[1]) for dialed in Dialer(ACCOUNTS, bad_share=0).take(50, NOW_MS)
    ]
    assert all(after == before + 1 for before, after in pairwise(numbers))


@pytest.mark.parametrize(("rate_per_s", "burst_max"), [(-1.0, 1), (1.0, 0)], ids=["rate", "burst"])
def test_a_pacer_of_nonsense_is_refused(rate_per_s: float, burst_max: int) -> None:
    with pytest.raises(ValueError, match="rate_per_s"):
        Pacer(rate_per_s, 0.0, burst_max)
