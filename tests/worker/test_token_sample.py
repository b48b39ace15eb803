"""What is shown of the tokens, and said when an account falls short of them."""

import random

from structlog.testing import capture_logs

from streams.lane.instant import Instant
from streams.lane.reading import Room
from streams.worker.owned import OwnedLane, OwnedPartition
from streams.worker.token_sample import TokenSample
from tests.worker.parts import ACCOUNT, lease, new_lane, new_metrics
from tests.worker.virtual import START_MS, START_S

NOW = Instant(START_MS, START_S)


def account_with(tokens, **options):
    lane = new_lane(ACCOUNT, **options)
    for number in range(tokens):
        lane.tokens.start_mint(NOW)
        lane.tokens.minted(f"secret-token-{number}", NOW)
    return OwnedLane(ACCOUNT, lane, OwnedPartition(lease(), lambda _: lane, Room(1000)))


def sampled(owned):
    sample, metrics = TokenSample(), new_metrics()
    with capture_logs() as logged:
        sample.add(owned, NOW)
    sample.show(metrics)
    names = ("tokens", "learned_requests_per_minute", "accounts_throttled")
    shown = {name: getattr(metrics, name)._value.get() for name in names}
    shown |= {state: metrics.budget_slots.labels(state)._value.get() for state in ("used", "free")}
    shown |= {
        cause: metrics.accounts_short_of_tokens.labels(cause)._value.get() for cause in ("quota", "refused", "revoked")
    }
    return shown, logged


def test_two_tokens_that_were_used_once_are_shown():
    owned = account_with(2)
    (first, _) = owned.lane.tokens.usable(NOW)
    owned.lane.tokens.take(first, NOW)
    shown, logged = sampled(owned)
    assert shown == {
        "tokens": 2,
        "learned_requests_per_minute": 120,
        "accounts_throttled": 0,
        "used": 1,
        "free": 119,
        "quota": 0,
        "refused": 0,
        "revoked": 0,
    }
    assert logged == []


def test_what_was_learned_from_a_429_is_shown():
    owned = account_with(2)
    owned.lane.tokens.usable(NOW)[0].pace.throttled(NOW.boot_s)
    shown, _ = sampled(owned)
    assert shown["learned_requests_per_minute"] == 42 + 60
    assert shown["accounts_throttled"] == 1


def test_a_shortage_is_said_once_and_so_is_its_end():
    owned = account_with(1)
    tokens = owned.lane.tokens
    tokens.start_mint(NOW)
    tokens.mint_failed(NOW, random.Random(1), None)
    shown, logged = sampled(owned)
    assert shown["refused"] == 1
    ((event, account, cause, count),) = [(e["event"], e["account_id"], e["cause"], e["tokens"]) for e in logged]
    assert (event, account, cause, count) == ("tokens_short", ACCOUNT, "refused", 1)
    assert sampled(owned)[1] == []
    tokens.start_mint(NOW)
    tokens.minted("secret-token", NOW)
    shown, logged = sampled(owned)
    assert shown["refused"] == 0
    assert [(e["event"], e["cause"]) for e in logged] == [("tokens_suffice", "refused")]


def test_a_pool_that_fell_back_to_one_is_said():
    owned = account_with(1)
    first = owned.lane.tokens.usable(NOW)[0]
    owned.lane.tokens.proved(first)
    owned.lane.tokens.start_mint(NOW)
    owned.lane.tokens.minted("secret-token-2", NOW)
    owned.lane.tokens.refused(first, NOW)
    shown, logged = sampled(owned)
    assert shown["revoked"] == 1
    assert [(e["event"], e["cause"]) for e in logged] == [("tokens_short", "revoked")]
    assert "secret" not in str(logged)
