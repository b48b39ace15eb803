"""The classifier alone: what needs no network to be said."""

import pytest

from streams.lane.verdict import Ambiguous, Listed, Reauthenticate, Refuse, RetryLater, Split
from streams.truecaller.classify import (
    Answer,
    Handed,
    NoAnswer,
    classify_check,
    classify_labels,
    classify_mint,
    classify_post,
    retry_after_s,
)

NOT_APPLIED = frozenset({429})
DATE = "Wed, 21 Oct 2026 07:28:00 GMT"
DATE_S = 1_792_567_680.0


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        pytest.param(NoAnswer("connect_failed", Handed.NOTHING), RetryLater("connect_failed"), id="not-sent"),
        pytest.param(NoAnswer("deadline", Handed.NOTHING, timed_out=True), RetryLater("deadline"), id="late-not-sent"),
        pytest.param(NoAnswer("no_answer", Handed.PARTLY), RetryLater("request_cut", left=True), id="cut"),
        pytest.param(
            NoAnswer("deadline", Handed.PARTLY, timed_out=True), Ambiguous("deadline"), id="late-while-sending"
        ),
        pytest.param(NoAnswer("no_answer", Handed.WHOLE), Ambiguous("no_answer"), id="sent"),
        pytest.param(
            Answer(200, b"{}", handed=Handed.PARTLY), Ambiguous("answer_before_request"), id="F68-200-too-early"
        ),
        pytest.param(
            Answer(413, b"", handed=Handed.PARTLY), Split("http_413", None, None, too_large=True), id="F61-413-early"
        ),
        pytest.param(Answer(500, b"", handed=Handed.PARTLY), Ambiguous("http_500"), id="500-early"),
        pytest.param(Answer(101, b""), Ambiguous("http_101"), id="101"),
        pytest.param(Answer(999, b""), Ambiguous("http_999"), id="999"),
        pytest.param(Answer(200, b'{"slug":"who-knows"}'), Ambiguous("error_in_2xx"), id="B78-200-unknown-slug"),
        pytest.param(Answer(200, b'{"error":"x"}'), Ambiguous("error_in_2xx"), id="B78-200-error-member"),
        pytest.param(
            Answer(200, b'{"status_info":{"status":"error","field":"label_id","message":"no label"}}'),
            Split("error_in_2xx", "label_id", "no label"),
            id="B78-200-nested-error",
        ),
        pytest.param(
            Answer(400, b'{"slug":"invalid-input","message":"label_id is required"}'),
            Split("invalid-input", None, "label_id is required"),
            id="400-slug",
        ),
        pytest.param(
            Answer(400, b'{"status":"error","field":"starts at\\n","message":7}'),
            Split("http_400", None, None),
            id="400-strange-parts",
        ),
    ],
)
def test_classify_post_says_not_applied_only_with_proof(reply, verdict):
    assert classify_post(reply, NOT_APPLIED) == verdict


def test_classify_check_waits_when_it_was_not_sent():
    assert classify_check(NoAnswer("connect_failed", Handed.NOTHING), "b") == RetryLater("connect_failed")
    assert classify_check(NoAnswer("no_answer", Handed.WHOLE), "b") == Ambiguous("no_answer")


def test_classify_mint_waits_when_nothing_came_back():
    assert classify_mint(NoAnswer("deadline", Handed.WHOLE, timed_out=True)) == RetryLater("deadline")


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        pytest.param("0", None, 0.0, id="zero"),
        pytest.param("5", None, 5.0, id="seconds"),
        pytest.param(" 1.5 ", None, 1.5, id="fraction"),
        pytest.param("3600", None, 300.0, id="an-hour"),
        pytest.param("1e9", None, 300.0, id="1e9"),
        pytest.param("9" * 18, None, 300.0, id="huge"),
        pytest.param("9" * 5000, None, None, id="absurd"),
        pytest.param("-5", None, 0.0, id="negative"),
        pytest.param("soon", None, None, id="garbage"),
        pytest.param("nan", None, None, id="nan"),
        pytest.param("inf", None, None, id="inf"),
        pytest.param("", None, None, id="empty"),
        pytest.param("\u0665", None, None, id="other-digits"),
        pytest.param("Wed, 21 Oct 2026 07:28:30 GMT", DATE, 30.0, id="date"),
        pytest.param("Wed, 21 Oct 2026 07:27:00 GMT", DATE, 0.0, id="past-date"),
        pytest.param("Wed, 21 Oct 2099 07:27:00 GMT", DATE, 300.0, id="far-date"),
        pytest.param("Wednesday, 21-Oct-26 07:28:30 GMT", DATE, 30.0, id="rfc850-date"),
        pytest.param("Wed, 21 Oct 2026 07:28:10 GMT", None, 10.0, id="no-date-header"),
        pytest.param("Wed, 21 Oct 2026 07:28:10 GMT", "yesterday", 10.0, id="bad-date-header"),
        pytest.param("Wed, 99 Oct 2026 07:28:10 GMT", DATE, None, id="impossible-date"),
    ],
)
@pytest.mark.faults("F42")
def test_retry_after_is_clamped(value, date, seconds):
    assert retry_after_s(value, date, DATE_S) == seconds


@pytest.mark.faults("F44")
def test_retry_after_is_held_against_the_servers_own_clock():
    """The server is an hour ahead of us: its date, not ours, says how long it means."""
    assert retry_after_s("Wed, 21 Oct 2026 08:28:30 GMT", "Wed, 21 Oct 2026 08:28:00 GMT", DATE_S) == 30.0


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        pytest.param(Answer(200, b"[]"), Listed(frozenset()), id="none"),
        pytest.param(Answer(200, b'[{"id":"A-1","label_type":"dynamic"}]'), Listed(frozenset({"a-1"})), id="an array"),
        pytest.param(Answer(200, b'{"data":[{"id":"a"}]}'), Listed(frozenset({"a"})), id="under data"),
        pytest.param(Answer(200, b'{"labels":[{"id":"a"}]}'), Listed(frozenset({"a"})), id="under labels"),
        pytest.param(Answer(200, b'{"data":{"labels":[{"id":"a"}]}}'), Listed(frozenset({"a"})), id="under both"),
        pytest.param(
            Answer(200, b'[{"id":"a","label_type":"static"},{"id":"b"}]'), Listed(frozenset({"b"})), id="another type"
        ),
        pytest.param(Answer(200, b'[{"name":"a"}]'), Ambiguous("answer_unreadable"), id="without an id"),
        pytest.param(Answer(200, b"[7]"), Ambiguous("answer_unreadable"), id="no labels"),
        pytest.param(Answer(200, b"{}"), Ambiguous("answer_unreadable"), id="no list"),
        pytest.param(Answer(200, b""), Ambiguous("answer_unreadable"), id="nothing"),
        pytest.param(Answer(200, b"[", flaw="answer_cut"), Ambiguous("answer_cut"), id="cut"),
        pytest.param(Answer(200, b'{"status":"error","message":"x"}'), Ambiguous("answer_unreadable"), id="an error"),
        pytest.param(Answer(303, b""), Refuse("redirect"), id="redirect"),
        pytest.param(Answer(408, b""), Ambiguous("http_408"), id="408"),
        pytest.param(
            Answer(500, b'{"message":"500/50011 - Failed to parse token","slug":"x"}'),
            Reauthenticate("http_500"),
            id="token in a 500",
        ),
        pytest.param(NoAnswer("connect_failed", Handed.NOTHING), RetryLater("connect_failed"), id="not reached"),
        pytest.param(NoAnswer("no_answer", Handed.WHOLE), Ambiguous("no_answer"), id="no answer"),
    ],
)
def test_only_a_readable_list_is_one(reply, verdict):
    assert classify_labels(reply) == verdict
