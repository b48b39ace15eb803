"""The labels of an account: when they are read, and which intents are refused for one that is not there."""

import random

import pytest

from streams.contracts.outcome import Status
from streams.lane import listing
from streams.lane.actions import ListLabels, Post
from streams.lane.labels import FRESH_S, PAGES_MAX, REFRESH_S, UNKNOWN_LABEL, Labels
from streams.lane.verdict import Accepted, Ambiguous, Listed, Reauthenticate, Refuse, RetryLater
from tests.lane.making import Driven, after, held, minted_lane, row, said

FAILED = [
    pytest.param(RetryLater("connect_failed"), "connect_failed", id="not reached"),
    pytest.param(RetryLater("http_429", throttled=True, left=True), "http_429", id="throttled"),
    pytest.param(Reauthenticate("authorization-error"), "authorization-error", id="token"),
    pytest.param(Refuse("forbidden-error"), "forbidden-error", id="forbidden"),
    pytest.param(Ambiguous("answer_unreadable"), "answer_unreadable", id="no list"),
    pytest.param(Listed(frozenset()), "no_labels", id="empty"),
]


def driven(mode="reject", **options):
    return Driven(minted_lane(labels=mode, statuses="none", **options))


def asked(lane, seconds=0.0):
    """The page that is asked for, and nothing else."""
    (request,) = lane.step(seconds)
    assert isinstance(request, ListLabels)
    return request


def answer(lane, request, verdict, seconds=0.1):
    sent_ms = lane.now.wall_ms
    lane.now = after(seconds, lane.now)
    return lane.wrote(listing.listed(lane.lane, request, verdict, sent_ms, lane.now))


def read(lane, *labels, seconds=0.0):
    """The whole list is read."""
    answer(lane, asked(lane, seconds), Listed(frozenset(labels)))
    answer(lane, asked(lane, 1.0), Listed(frozenset()))


def rows(*labels, first=0):
    return [row(first + number, label_id=label) for number, label in enumerate(labels)]


def posted(lane, seconds=2.0):
    """The labels of the batch that leaves now; the API takes it."""
    found = []
    for request in lane.step(seconds):
        assert isinstance(request, Post)
        found += [one.row.label_id for one in request.held]
        lane.answer(request, Accepted("batch"))
    return found


def rejected(lane):
    return [one for write in lane.writes for one in said(write) if one[0] is Status.REJECTED]


def test_off_asks_for_nothing_and_refuses_nobody():
    lane = driven("off")
    lane.offer(rows("strange"))
    assert posted(lane) == ["strange"]


def test_nothing_is_asked_for_while_nothing_waits():
    lane = driven()
    assert lane.step(10 * REFRESH_S) == []


def test_the_first_batch_waits_for_the_list_and_leaves_out_what_it_does_not_have():
    lane = driven()
    lane.offer(rows("mine", "strange", "mine", "other"))
    assert asked(lane).page == 1
    assert lane.step(5.0) == []
    answer(lane, ListLabels(1, lane.lane.tokens.usable(lane.now)[0]), Listed(frozenset({"mine"})))
    second = asked(lane, 1.0)
    assert second.page == 2
    answer(lane, second, Listed(frozenset({"other"})))
    answer(lane, asked(lane, 1.0), Listed(frozenset()))
    assert posted(lane) == ["mine", "mine", "other"]
    assert rejected(lane) == [(Status.REJECTED, 1, 0, UNKNOWN_LABEL.code, False)]


def test_what_is_refused_is_a_dead_letter_and_its_place_is_taken():
    lane = driven()
    lane.offer(rows("strange"))
    read(lane, "mine")
    assert posted(lane) == []
    (write,) = [write for write in lane.writes if write.dead]
    ((dead, reason),) = write.dead
    assert (dead.row.label_id, reason) == ("strange", UNKNOWN_LABEL)
    assert write.taken == [dead.place]
    assert lane.lane.idle


def test_the_next_of_a_pair_goes_when_the_one_before_is_refused():
    lane = driven()
    lane.offer([row(1, receiver="7", label_id="strange"), row(2, receiver="7", label_id="mine")])
    read(lane, "mine")
    assert posted(lane) + posted(lane) == ["mine"]


def test_a_record_of_each_request_is_kept_and_counts_against_the_token():
    lane = driven()
    lane.offer(rows("mine"))
    before = lane.lane.tokens.usable(lane.now)[0].pace.used(lane.now.boot_s)
    read(lane, "mine")
    records = [record for write in lane.writes for record in write.requests if record.request == "labels"]
    assert [(record.verdict, record.token, record.batch_ref) for record in records] == [("listed", 0, None)] * 2
    assert lane.lane.tokens.usable(lane.now)[0].pace.used(lane.now.boot_s) == before + 2


def test_an_unknown_label_has_the_list_read_again_for_it_may_be_new():
    lane = driven()
    lane.offer(rows("mine"))
    read(lane, "mine")
    assert posted(lane) == ["mine"]
    lane.step(FRESH_S)
    lane.offer(rows("new", "strange", "mine", first=1), offset=1)
    read(lane, "mine", "new")
    assert posted(lane) == ["new", "mine"]
    assert len(rejected(lane)) == 1


def test_a_list_of_the_last_minute_is_not_read_again():
    lane = driven()
    lane.offer(rows("mine"))
    read(lane, "mine")
    assert posted(lane) == ["mine"]
    lane.offer(rows("strange", "mine", first=1), offset=1)
    assert posted(lane) == ["mine"]
    assert len(rejected(lane)) == 1


def test_the_list_is_read_anew_after_a_while_and_nobody_waits_for_that():
    lane = driven()
    lane.offer(rows("mine"))
    read(lane, "mine")
    assert posted(lane) == ["mine"]
    lane.now = after(REFRESH_S, lane.now)
    lane.offer(rows("mine", first=1), offset=1)
    request = asked(lane)
    assert posted(lane) == ["mine"]
    answer(lane, request, Listed(frozenset({"mine"})))


@pytest.mark.parametrize(("verdict", "cause"), FAILED)
def test_what_cannot_be_checked_goes_out(verdict, cause):
    lane = driven()
    lane.offer(rows("strange"))
    answer(lane, asked(lane), verdict)
    assert lane.lane.labels.failing == cause
    for _ in range(40):  # beyond any pause that a 429 asks for
        lane.step(2.0)
    sent = [one.row.label_id for request in lane.requests if isinstance(request, Post) for one in request.held]
    assert sent == ["strange"]
    assert lane.lane.tokens.usable(lane.now), "no token is put away for it"


def test_a_list_that_was_read_once_and_cannot_be_again_refuses_nobody():
    lane = driven()
    lane.offer(rows("mine"))
    read(lane, "mine")
    assert posted(lane) == ["mine"]
    lane.now = after(2 * FRESH_S, lane.now)
    lane.offer(rows("strange", first=1), offset=1)
    answer(lane, asked(lane), Refuse("http_403"))
    assert posted(lane, 0.9) == ["strange"]
    assert not rejected(lane)


def test_warn_tells_each_unknown_label_once_and_sends_all():
    lane = driven("warn")
    lane.offer(rows("mine"))
    read(lane, "mine")
    assert posted(lane) == ["mine"]
    lane.offer(rows("strange", "strange", "odd", first=1), offset=1)
    assert sorted(posted(lane)) == ["odd", "strange", "strange"]
    assert lane.lane.labels.news == ["odd", "strange"]
    lane.lane.labels.news.clear()
    lane.offer(rows("strange", first=4), offset=2)
    assert posted(lane) == ["strange"]
    assert lane.lane.labels.news == []


def test_warn_does_not_wait_for_the_list():
    lane = driven("warn")
    lane.offer(rows("mine"))
    asked(lane)
    assert posted(lane) == ["mine"]


def test_a_request_that_was_not_made_is_asked_for_again_and_costs_nothing():
    lane = driven()
    lane.offer(rows("mine"))
    request = asked(lane)
    used = lane.lane.tokens.usable(lane.now)[0].pace.used(lane.now.boot_s)
    assert not listing.not_made(lane.lane, request).requests
    assert lane.lane.tokens.usable(lane.now)[0].pace.used(lane.now.boot_s) == used - 1
    assert asked(lane, 1.0).page == 1


def test_a_paused_account_asks_for_nothing():
    lane = driven()
    lane.told("pause")
    lane.offer(rows("mine"))
    assert lane.step(30.0) == []


def test_a_list_without_end_is_none():
    labels = Labels("reject")
    for page in range(1, PAGES_MAX + 1):
        assert labels.failing is None
        assert labels.start(float(page)) == page
        labels.listed([f"label {page}"], float(page), random.Random(1))
    assert labels.failing == "too_many_labels"
    assert labels.sort([held(1)]) == ([held(1)], [])


def test_what_was_told_is_remembered_within_bounds():
    labels = Labels("warn")
    for page in (["mine"], []):
        labels.start(0.0)
        labels.listed(page, 0.0, random.Random(1))
    for number in range(3):
        labels.sort([held(each, label_id=f"{number}/{each}") for each in range(500)])
    assert len(labels.news) == 1500
    assert len(labels._told) <= 1000
