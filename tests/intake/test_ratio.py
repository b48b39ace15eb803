"""When a partition counts as mostly invalid, and when that is news."""

import pytest

from streams.intake.ratio import InvalidRatio, News

BAD, GOOD = News.MOSTLY_INVALID, News.MOSTLY_VALID


@pytest.mark.parametrize(
    ("chunks", "news"),
    [
        pytest.param([(999, 999)], [None], id="too few"),
        pytest.param([(1000, 500)], [None], id="half"),
        pytest.param([(1000, 501)], [BAD], id="more than half"),
        pytest.param([(400, 0), (400, 400), (400, 400)], [None, None, BAD], id="several chunks"),
        pytest.param([(1, 1)] * 1001, [None] * 999 + [BAD, None], id="single messages, told once"),
        pytest.param([(1000, 0)] * 9 + [(1000, 1000)], [None] * 9 + [BAD], id="an old partition turns"),
        pytest.param([(1000, 1000), (1000, 0)], [BAD, GOOD], id="good again"),
        pytest.param([(1000, 0), (10, 10), (10, 10)], [None] * 3, id="a few bad ones"),
        pytest.param([(0, 0), (1000, 1000), (0, 0)], [None, BAD, None], id="empty chunks"),
    ],
)
@pytest.mark.faults("F30")
def test_what_is_news(chunks, news):
    ratio = InvalidRatio()
    assert [ratio.add(*chunk) for chunk in chunks] == news


def test_after_a_new_beginning_the_next_thousand_is_judged_by_itself():
    ratio = InvalidRatio()
    assert ratio.add(1500, 1500) is BAD
    ratio.begin_anew()
    assert not ratio.mostly_invalid
    assert ratio.add(999, 999) is None
    assert ratio.add(1, 1) is BAD


def test_it_holds_no_more_than_the_last_thousand():
    ratio = InvalidRatio()
    for _ in range(5000):
        ratio.add(3, 1)
    assert ratio.seen <= 1002
    assert len(ratio._chunks) <= 334
