"""Batches refused as a whole: the bad records end alone, the good ones are accepted, whatever comes between."""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contracts.journal import BatchState
from streams.contracts.outcome import Status
from streams.lane import answers, parts
from streams.lane.actions import Check, Mint, Post
from streams.lane.breaker import REFUSED_MAX, REFUSED_PROBES, BreakerState, Cause
from streams.lane.verdict import Accepted, Ambiguous, Minted, RetryLater, Split, Statuses
from tests.lane.making import START, Driven, after, minted_lane, new_lane, record, row

HOUR_MS = 3_600_000
LONG: dict[str, Any] = {"ends_at": START.wall_ms + 24 * HOUR_MS}

ACCEPTED, REJECTED, UNKNOWN, EXPIRED = Status.ACCEPTED, Status.REJECTED, Status.UNKNOWN, Status.EXPIRED


class Api:
    """Refuses every batch with a bad record, unless ``between`` has another answer."""

    def __init__(self, bad, *, name=None, field=None, between=None):
        self.bad = set(bad)
        self.posts: list[list[int]] = []
        self.accepted: Counter[int] = Counter()
        self.doubtful: set[int] = set()
        self._name = name
        self._field = field
        self._between = between

    def __call__(self, post: Post):
        numbers = [one.row.source_offset for one in post.held]
        self.posts.append(numbers)
        other = self._between and self._between(self, numbers)
        if other:
            if isinstance(other, Ambiguous):
                self.doubtful.update(numbers)
            return other
        found = [index for index, number in enumerate(numbers) if number in self.bad]
        if found:
            return Split("http_400", self._field, self._name(found[0]) if self._name else "is invalid")
        self.accepted.update(numbers)
        return Accepted(f"batch-{len(self.posts)}")


def live(driven, api, seconds):
    """Let the lane do what it wants, until it wants nothing more or so much time has passed."""
    end_s = driven.now.boot_s + seconds
    while (wake_s := driven.lane.wake_at(driven.now)) <= end_s:
        for asked in driven.step(max(0.001, wake_s - driven.now.boot_s)):
            if isinstance(asked, Post):
                driven.answer(asked, api(asked), 0.05)
            elif isinstance(asked, Mint):
                driven.wrote(answers.minted(driven.lane, Minted("token"), driven.now.wall_ms, driven.now))
            elif isinstance(asked, Check):
                held = driven.lane.batches[asked.batch_ref].unpacked(driven.lane.tools.packer)
                statuses = Statuses(tuple(record(one.row) for one in held))
                driven.wrote(answers.checked(driven.lane, asked.batch_ref, statuses, 0, driven.now))


def ends(driven) -> dict[int, Status]:
    """The first outcome of every intent."""
    found: dict[int, Status] = {}
    for write in driven.writes:
        for outcomes in write.outcomes:
            for one in outcomes.held:
                found.setdefault(one.row.source_offset, outcomes.status)
    return found


def letters(driven) -> list[int]:
    return sorted(one.row.source_offset for write in driven.writes for one, _ in write.dead)


def refused(count, bad, *, seconds=600.0, lane=None, **api):
    driven = Driven(lane or minted_lane(statuses="none"))
    driven.offer([row(number, **LONG) for number in range(count)])
    answering = Api(bad, **api)
    live(driven, answering, seconds)
    return driven, answering


# -- the bad ones end alone


@pytest.mark.parametrize("bad", [0, 1, 250, 263, 498, 499])
@pytest.mark.faults("F59")
def test_one_bad_record_in_500_is_found_within_twenty_requests(bad):
    driven, api = refused(500, {bad})
    assert ends(driven) == {number: REJECTED if number == bad else ACCEPTED for number in range(500)}
    assert letters(driven) == [bad]
    assert len(api.posts) - 1 <= 20
    assert max(api.accepted.values()) == 1
    assert driven.lane.idle


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_small_batches_are_divided_too(count):
    for bad in range(count):
        driven, _ = refused(count, {bad})
        assert ends(driven) == {number: REJECTED if number == bad else ACCEPTED for number in range(count)}


@pytest.mark.parametrize(
    ("name", "most"),
    [
        pytest.param(lambda index: f"call_records[{index}].receiver is invalid", 4, id="counted from 0"),
        pytest.param(lambda index: f"record {index + 1} is invalid", 4, id="counted from 1"),
        pytest.param(lambda _: "call_records[7].receiver is invalid", 20, id="always the same, and wrong"),
        pytest.param(lambda _: "record 600 is invalid", 18, id="out of range"),
    ],
)
@pytest.mark.faults("F59")
def test_a_record_that_the_answer_names_is_tried_first(name, most):
    driven, api = refused(500, {263}, name=name)
    assert ends(driven) == {number: REJECTED if number == 263 else ACCEPTED for number in range(500)}
    assert len(api.posts) - 1 <= most


def test_a_field_that_the_answer_blames_brings_records_with_one_bad_value_together():
    driven = Driven(minted_lane(statuses="none"))
    rows = [row(number, label_id=f"label-{number % 10}", **LONG) for number in range(500)]
    driven.offer(rows)
    api = Api({number for number in range(500) if number % 10 == 3}, field="call_records.label_id")
    live(driven, api, 3600.0)
    assert [number for number, end in sorted(ends(driven).items()) if end is REJECTED] == letters(driven)
    assert set(letters(driven)) == api.bad
    assert len(api.posts) <= 130, "50 bad ones that were scattered would be in all parts but the smallest"


def test_what_was_refused_is_dead_with_its_reason():
    driven = Driven(minted_lane())
    driven.offer([row(0)])
    write = driven.answer(driven.post(1.0), Split("http_400", "receiver", "is invalid"))
    ((one, reason),) = write.dead
    assert (one.row.source_offset, reason.message) == (0, "http_400: receiver: is invalid")
    assert not write.events, "a batch that was not accepted does not complete"


# -- a division is one write


@pytest.mark.faults("F59")
def test_a_batch_is_forgotten_in_the_write_that_has_its_parts():
    driven = Driven(minted_lane())
    driven.offer([row(number, ends_at=START.wall_ms + 90_000) if number == 2 else row(number) for number in range(5)])
    driven.answer(driven.post(1.0), Ambiguous("timeout"))
    driven.answer(driven.post(70.0), RetryLater("connect"))
    before = driven.lane.batches["ref-1"].entry
    write = driven.answer(driven.post(30.0), Split("http_400", None, None))

    journaled = dict(write.entries)
    assert journaled["batch/ref-1"] is None
    assert journaled["intents/ref-1"] is None
    kept = [journaled[f"intents/{ref}"] for ref in driven.lane.batches]
    unpacked = [driven.lane.tools.packer.unpack(packed) for packed in kept if packed]
    assert sorted(one.row.source_offset for held in unpacked for one in held) == [0, 1, 3, 4], "2 has ended before"
    for batch in driven.lane.batches.values():
        entry = batch.entry
        assert (entry.state, entry.part_of, entry.records, entry.settled) == (BatchState.UNSENT, "ref-1", 2, ())
        assert entry.possible_duplicate
        assert (entry.sequence, entry.resends, entry.policy) == (before.sequence, before.resends, before.policy)
        assert [(each.number, each.left_out) for each in entry.attempts] == [(1, ()), (2, ()), (3, ())]


@pytest.mark.faults("F59", "F69")
def test_a_new_owner_goes_on_dividing():
    driven = Driven(minted_lane())
    driven.offer([row(number, **LONG) for number in range(100)])
    post = driven.post(1.0)
    driven.answer(post, Split("http_400", None, None))
    successor = driven.taken_over(after(2.0, driven.now), new_lane(statuses="none"))
    api = Api({77})
    live(successor, api, 600.0)
    assert ends(successor) == {number: REJECTED if number == 77 else ACCEPTED for number in range(100)}
    assert {len(numbers) for numbers in api.posts[:2]} == {50}
    assert successor.lane.idle


def test_the_requests_of_a_refused_batch_are_counted_across_owners():
    driven = Driven(minted_lane())
    driven.offer([row(number, **LONG) for number in range(100)])
    driven.answer(driven.post(1.0), Split("http_400", None, None))
    write = driven.answer(driven.post(1.0), Split("http_400", None, None))
    assert write.outcomes == []
    successor = driven.taken_over(driven.now)
    parts_left = list(successor.lane.batches.values())
    assert {batch.entry.part_of for batch in parts_left} == {"ref-1"}
    assert successor.lane.parts.group(parts_left[0]).requests >= 4


def test_a_new_owner_knows_that_others_of_the_batch_were_accepted():
    lane = minted_lane(statuses="none")
    driven, _ = refused(100, range(50, 100), lane=lane, seconds=4.0)
    assert ends(driven)[0] is ACCEPTED
    successor = driven.taken_over(driven.now, new_lane(statuses="none"))
    live(successor, Api(range(50, 100)), 3600.0)
    assert {**ends(driven), **ends(successor)} == {n: ACCEPTED if n < 50 else REJECTED for n in range(100)}


# -- what lies between


@pytest.mark.faults("F59")
def test_a_bad_record_that_was_in_doubt_is_unknown_and_no_dead_letter():
    def between(api, numbers):
        return Ambiguous("timeout") if len(api.posts) == 1 else None

    driven, api = refused(100, {42}, between=between)
    assert ends(driven) == {number: UNKNOWN if number == 42 else ACCEPTED for number in range(100)}
    assert letters(driven) == []
    assert api.accepted.total() == 99


BAD = st.sets(st.integers(0, 39), max_size=40)


@pytest.mark.faults("F59")
@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40), bad=BAD, field=st.sampled_from([None, "receiver", "label_id"]), seed=st.integers(0, 99)
)
def test_a_division_ends_and_drops_no_good_record(count, bad, field, seed):
    dice = random.Random(seed)
    share = dice.choice([0.0, 0.2, 0.5])

    def between(api, _numbers):
        if dice.random() > share or len(api.posts) > 300:
            return None
        return dice.choice([Ambiguous("timeout"), RetryLater("http_429", throttled=True), RetryLater("connect")])

    name = dice.choice([None, lambda index: f"record {index}", lambda _: "record 1"])
    lane = minted_lane(statuses="none", ambiguous_resends_max=1000)
    driven, api = refused(count, bad, seconds=26 * 3600.0, lane=lane, field=field, name=name, between=between)
    assert driven.lane.idle
    found = ends(driven)
    assert set(found) == set(range(count))
    for number, end in found.items():
        if number not in api.bad:
            assert end is ACCEPTED, (number, end)
            assert api.accepted[number] == 1
        elif number in api.doubtful:
            assert end is UNKNOWN
        else:
            assert end in {REJECTED, EXPIRED}
    assert letters(driven) == sorted(number for number, end in found.items() if end is REJECTED)
    assert any(number not in api.bad for number in range(count)) <= (EXPIRED not in found.values())


# -- bounds


@pytest.mark.parametrize("bad_count", [2, 5, 7])
@pytest.mark.faults("F59")
def test_several_bad_records_are_found_within_the_limit(bad_count):
    bad = set(random.Random(bad_count).sample(range(500), bad_count))
    driven, api = refused(500, bad)
    assert set(letters(driven)) == bad
    assert api.accepted.total() == 500 - bad_count
    assert len(api.posts) - 1 <= parts.REQUESTS_MAX


@pytest.mark.faults("F59")
def test_beyond_the_limit_a_refused_batch_is_taken_apart_slowly_and_to_the_end():
    bad = set(range(0, 500, 12))
    driven, api = refused(500, bad, seconds=300.0)
    fast = len(api.posts)
    assert parts.REQUESTS_MAX <= fast <= parts.REQUESTS_MAX + 300 / parts.SLOW_S + 20
    live(driven, api, 3 * 3600.0)
    assert set(letters(driven)) == bad
    assert api.accepted.total() == 500 - len(bad)
    assert driven.lane.idle


@pytest.mark.parametrize(
    ("bad_count", "tokens"),
    [pytest.param(1, 1, id="one, for which the slots are enough"), pytest.param(20, 2, id="twenty")],
)
@pytest.mark.faults("F59")
def test_parts_that_wait_for_a_slot_bring_another_token(bad_count, tokens):
    driven, api = refused(500, set(range(7, 500, 500 // bad_count)), seconds=1500.0)
    assert driven.lane.idle
    assert driven.requests.count(Mint()) == tokens - 1
    assert driven.lane.tokens.minting.demand.per_minute(START.boot_s) >= 0.4 * len(api.posts) * 60.0 / 300.0


@pytest.mark.faults("F59")
def test_twenty_bad_records_among_500_are_found_within_ten_minutes():
    bad = set(range(7, 500, 25))
    driven, api = refused(500, bad, seconds=600.0)
    assert driven.lane.idle
    assert set(letters(driven)) == bad
    assert api.accepted.total() == 480


@pytest.mark.faults("F59")
def test_parts_behind_a_slow_api_bring_no_token():
    driven = Driven(minted_lane(statuses="none"))
    driven.offer([row(number, **LONG) for number in range(500)])
    driven.answer(driven.post(1.0), Split("http_400", None, None))
    api = Api({7, 300})
    running: list[tuple[float, Any]] = []
    asked: list[Any] = []
    for _ in range(600):
        running.extend((driven.now.boot_s + 5.0, one) for one in driven.step(0.1))
        while running and running[0][0] <= driven.now.boot_s:
            asked.append(running.pop(0)[1])
            driven.answer(asked[-1], api(asked[-1]), 0.0)
    assert len(asked) > 15
    assert Mint() not in driven.requests


@pytest.mark.faults("F59")
def test_parts_and_fresh_batches_take_turns():
    driven = Driven(minted_lane(statuses="none", in_flight_max_per_token=1))
    driven.offer([row(number, **LONG) for number in range(500)])
    api = Api(set(range(0, 500, 40)))
    driven.answer(driven.post(1.0), Split("http_400", None, None))
    for offset in range(1, 41):
        driven.offer([row(number, **LONG) for number in range(500 * offset, 500 * offset + 500)], offset)
    live(driven, api, 40.0)
    fresh = sum(min(numbers) >= 500 for numbers in api.posts)
    assert abs(fresh - (len(api.posts) - fresh)) <= 2


@pytest.mark.faults("F61")
def test_a_batch_that_is_too_large_is_halved_and_so_are_the_next_ones():
    driven = Driven(minted_lane(statuses="none"))
    driven.offer([row(number, **LONG) for number in range(1500)])
    sizes: list[int] = []

    def limited(post):
        sizes.append(len(post.held))
        return Accepted(f"b-{len(sizes)}") if len(post.held) <= 300 else Split("http_413", None, None, too_large=True)

    live(driven, limited, 600.0)
    assert set(ends(driven).values()) == {ACCEPTED}
    assert sizes.count(500) <= 2, "those that were on their way already"
    assert max(sizes[3:]) == 250
    driven.offer([row(number, **LONG) for number in range(1500, 2000)], 1)
    live(driven, limited, 600.0)
    driven.now = after(4000.0, driven.now)
    driven.offer([row(number, **LONG) for number in range(2000, 2500)], 2)
    live(driven, limited, 600.0)
    assert sizes.count(500) <= 3, "a limit that was learnt is tried again after an hour"
    assert 500 in sizes[-3:]


# -- everything is refused


@pytest.mark.parametrize("count", [500, 5000])
@pytest.mark.faults("F60")
def test_when_everything_is_refused_the_account_pauses_and_no_dead_letter_is_written(count):
    driven, api = refused(count, range(count), seconds=10.0)
    assert driven.lane.breaker.cause is Cause.REFUSED
    assert driven.lane.breaker.openings
    assert driven.lane.breaker.state(driven.now.boot_s) is BreakerState.OPEN
    assert len(api.posts) <= REFUSED_MAX + REFUSED_PROBES + 2
    live(driven, api, 6 * 3600.0)
    assert len(api.posts) <= 250, "one intent every few minutes"
    assert {len(numbers) for numbers in api.posts[5:]} == {1}
    assert letters(driven) == []
    assert ends(driven) == {}


@pytest.mark.faults("F60")
def test_it_goes_on_by_itself_when_the_api_takes_them_again():
    driven, api = refused(500, range(500), seconds=3600.0)
    api.bad = {7}
    live(driven, api, 3600.0)
    assert ends(driven) == {number: REJECTED if number == 7 else ACCEPTED for number in range(500)}
    assert letters(driven) == [7]


@pytest.mark.faults("F60")
def test_fresh_intents_are_tried_as_well():
    """What was refused stays bad; what comes now is good: the account must not wait for the old ones to end."""
    driven, api = refused(500, range(500), seconds=3600.0)
    driven.offer([row(number, **LONG) for number in range(500, 1000)], 1)
    live(driven, api, 1800.0)
    assert sum(end is ACCEPTED for end in ends(driven).values()) == 500


@pytest.mark.faults("F60")
def test_an_operator_has_it_tried_at_once():
    driven, api = refused(500, range(500), seconds=3600.0)
    api.bad = set()
    driven.told("resume")
    live(driven, api, 10.0)
    assert set(ends(driven).values()) == {ACCEPTED}


@pytest.mark.faults("F60")
def test_calls_that_end_while_the_account_pauses_end_with_an_outcome():
    driven = Driven(minted_lane(statuses="none"))
    driven.offer([row(number) for number in range(700)])
    live(driven, Api(range(700)), 6 * 3600.0)
    assert ends(driven) == dict.fromkeys(range(700), EXPIRED)
    assert letters(driven) == []
    assert driven.lane.idle


@pytest.mark.faults("F60")
def test_a_quiet_account_has_few_dead_letters_before_it_pauses():
    driven = Driven(minted_lane(statuses="none"))
    api = Api(range(100))
    for number in range(100):
        driven.offer([row(number, **LONG)], number)
        live(driven, api, 60.0)
    assert len(letters(driven)) == 10
    assert driven.lane.breaker.state(driven.now.boot_s) is not BreakerState.CLOSED


def test_a_batch_whose_parts_are_all_accepted_is_no_suspect_any_more():
    driven, _ = refused(40, {3}, lane=minted_lane(statuses="all"), seconds=3.0)
    accepted = [batch for batch in driven.lane.batches.values() if batch.entry.state is BatchState.ACCEPTED]
    assert accepted
    assert all(batch.entry.part_of is None for batch in accepted)
