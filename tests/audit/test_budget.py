"""The budget: whatever moment between sending and the end of a request the API counts it at."""

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.audit.budget import MINUTE_S, Budget, Uses

requests = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 90)), min_size=1, max_size=9)


def most_that_may_fall_together(spans: list[tuple[int, int]]) -> int:
    """By trying every window that begins with the end of a request: those that may be counted in it."""
    return max(sum(sent < end + MINUTE_S and sent + took >= end for sent, took in spans) for _, end in _ends(spans))


def _ends(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(sent, sent + took) for sent, took in spans]


@given(requests)
@settings(max_examples=200)
def test_the_busiest_minute_is_that_of_a_search_by_force(spans):
    uses = Uses()
    for sent, took in spans:
        uses.add(sent, sent + took)
    assert uses.busiest(MINUTE_S, exact=True)[0] == most_that_may_fall_together(spans)


def test_a_request_that_was_sent_a_minute_after_another_had_ended_shares_no_window_with_it():
    uses = Uses()
    uses.add(0.0, 2.0)
    uses.add(62.0, 62.1)
    assert uses.busiest(MINUTE_S, exact=True)[0] == 1
    uses.add(61.9, 62.1)
    assert uses.busiest(MINUTE_S, exact=True)[0] == 2


def test_a_clock_that_is_slewed_makes_no_breach():
    uses = Uses()
    uses.add(0.0, 0.0)
    uses.add(59.98, 60.1)
    assert uses.busiest(MINUTE_S, exact=False)[0] == 1
    assert uses.busiest(MINUTE_S, exact=True)[0] == 2


def test_each_token_of_an_account_has_a_budget_of_its_own():
    """Sixty a minute with each of two tokens, and one more with one of them; another account has a token 0 too."""
    budget = Budget()
    for number in range(60):
        for account, token in (("a", "0"), ("a", "1"), ("b", "0")):
            budget.request(account, token, number * 0.5, number * 0.5 + 0.1)
    spans = [(account, span.requests) for account, span in budget.minutes(lambda _: 60)]
    assert spans == [("a", 60), ("a", 60), ("b", 60)]
    assert budget.tokens == 3
    budget.request("a", "1", 40.0, 40.1)
    over = [span.who for _, span in budget.minutes(lambda _: 60) if span.requests > span.limit]
    assert over == ["token 1 of a"]


def test_the_tokens_of_an_account_share_its_budget_while_they_are_used_side_by_side():
    budget = Budget()
    for number in range(50):
        for token in ("0", "1", "2"):
            budget.request("a", token, number * 1.0, number * 1.0 + 0.1)
    assert [(span.requests, span.who) for _, span in budget.account_minutes(lambda _: 120)] == [
        (150, "all tokens of a")
    ]


def test_a_fresh_token_after_a_crash_has_a_budget_of_its_own():
    """Its owner lets rest what it found, and uses it again once what was sent with it no longer counts."""
    budget = Budget()
    for number in range(60):
        budget.request("a", "0", number * 0.5, number * 0.5 + 0.1)
        budget.request("a", "1", 40.0 + number * 0.5, 40.0 + number * 0.5 + 0.1)
    for number in range(30):
        budget.request("a", "0", 130.0 + number, 130.0 + number + 0.1)
        budget.request("a", "1", 130.5 + number, 130.5 + number + 0.1)
    assert [span.requests for _, span in budget.account_minutes(lambda _: 60)] == [60]
