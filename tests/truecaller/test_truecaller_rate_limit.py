"""Headers that say that no request is left, in the forms in which they are met."""

import pytest

from streams.lane.verdict import Accepted, RetryLater, Statuses
from streams.truecaller.classify import EXHAUSTED_S_MAX, RETRY_AFTER_S_MAX, Answer, classify_check, classify_post
from streams.truecaller.rate_limit import Exhausted, read_exhausted

DATE = "Wed, 21 Oct 2026 07:28:00 GMT"
DATE_S = 1_792_567_680.0
HOUR_S = 3600


@pytest.mark.parametrize(
    ("headers", "for_s"),
    [
        pytest.param({"ratelimit-remaining": "0", "ratelimit-reset": "30"}, 30.0, id="seconds"),
        pytest.param({"x-ratelimit-remaining": " 0 ", "x-ratelimit-reset": "7.5"}, 7.5, id="x-parts-of-a-second"),
        pytest.param({"x-rate-limit-remaining": "0", "x-rate-limit-reset": "9"}, 9.0, id="x-with-hyphen"),
        pytest.param({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{DATE_S + 12:.0f}"}, 12.0, id="moment"),
        pytest.param({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{DATE_S + 12:.0f}000"}, 12.0, id="ms"),
        pytest.param({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{DATE_S - 12:.0f}"}, 0.0, id="past"),
        pytest.param({"ratelimit": "limit=60, remaining=0, reset=5"}, 5.0, id="draft-of-old"),
        pytest.param({"ratelimit": '"minute";r=0;t=8'}, 8.0, id="draft-of-today"),
        pytest.param({"ratelimit": '"burst";r=0;t=2, "minute";r=0;t=40, "day";r=9;t=80000'}, 40.0, id="policies"),
        pytest.param({"ratelimit-remaining": "1", "ratelimit-reset": "30"}, None, id="one-left"),
        pytest.param({"ratelimit": '"minute";r=3;t=8'}, None, id="three-left"),
        pytest.param({"ratelimit-remaining": "0"}, None, id="no-end"),
        pytest.param({"ratelimit-remaining": "0", "ratelimit-reset": "-5"}, None, id="negative"),
        pytest.param({"ratelimit-remaining": "none", "ratelimit-reset": "soon"}, None, id="garbage"),
        pytest.param({"ratelimit": "limit=60;w=60"}, None, id="policy-alone"),
        pytest.param({}, None, id="nothing"),
    ],
)
@pytest.mark.faults("F42")
def test_no_request_is_left_for_so_long(headers, for_s):
    found = read_exhausted(headers)
    assert (found and found.for_s(DATE_S)) == for_s


@pytest.mark.parametrize(
    ("exhausted", "date", "for_s"),
    [
        pytest.param(Exhausted(30.0), None, 30.0, id="seconds"),
        pytest.param(Exhausted(DATE_S + 20), DATE, 20.0, id="server-an-hour-ahead"),
        pytest.param(Exhausted(DATE_S - HOUR_S + 20), None, 20.0, id="no-date-header"),
        pytest.param(Exhausted(90_000.0), DATE, None, id="a-day"),
    ],
)
def test_what_is_left_is_held_against_the_servers_own_clock_and_clamped(exhausted, date, for_s):
    """Our clock is an hour behind that of the server."""

    def answer(status, body=b""):
        return Answer(status, body, exhausted=exhausted, date=date, received_at_s=DATE_S - HOUR_S)

    fair_s, refused_s = (EXHAUSTED_S_MAX, RETRY_AFTER_S_MAX) if for_s is None else (for_s, for_s)
    assert classify_post(answer(200, b'{"batch_id":"b"}'), {429}) == Accepted("b", fair_s)
    assert classify_post(answer(200), {429}) == Accepted(None, fair_s)
    assert classify_check(answer(200, b"[]"), "b") == Statuses((), fair_s)
    assert classify_post(answer(429), {429}) == RetryLater("http_429", True, refused_s, left=True)


def test_retry_after_comes_before_other_headers():
    answer = Answer(429, b"", retry_after="7", exhausted=Exhausted(30.0))
    assert classify_post(answer, {429}) == RetryLater("http_429", True, 7.0, left=True)
