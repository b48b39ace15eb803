"""Seeded histories of lanes, journal, API and crashes on virtual time, and the proof that mistakes are found."""

from collections import Counter

import pytest

from streams.contracts.outcome import Status
from streams.lane import answers, correlate, doubt, recovery
from streams.lane.actions import Action, Write
from streams.lane.batch import Batch
from streams.lane.correlate import Match, Told
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.offsets import PartitionOffset
from streams.lane.pace import Pace
from streams.lane.settle import EXPIRED, Final
from streams.lane.window import Window
from tests.lane.simulation.audit import Violation
from tests.lane.simulation.history import replay

GROUPS = 4
SEEDS_PER_GROUP = 50

# Every mistake below shows within the first few seeds; this leaves room for another order of random draws.
SEEDS_TO_FIND = 150


def seeds(config: pytest.Config, group: int) -> list[int]:
    chosen = config.getoption("--seed", default=None)
    if chosen is not None:
        return [chosen] if group == 0 else []
    return list(range(group, GROUPS * SEEDS_PER_GROUP, GROUPS))


@pytest.mark.parametrize("group", range(GROUPS))
def test_no_history_breaks_a_promise(group, pytestconfig):
    seen: Counter[str] = Counter()
    chosen = seeds(pytestconfig, group)
    for seed in chosen:
        seen += replay(seed)
    # A net that catches nothing because nothing swims by proves nothing.
    if len(chosen) > 1:
        wanted = {
            "kills",
            "cut off",
            "hand-overs",
            "duplicates",
            "Accepted",
            "Ambiguous",
            "RetryLater",
            "Reauthenticate",
            "Refuse",
        }
        assert not wanted - seen.keys()
        assert {Status.DELIVERED, Status.FAILED, Status.UNKNOWN, Status.EXPIRED} <= seen.keys()


def replay_many(count):
    for seed in range(count):
        replay(seed)


def test_a_seed_is_one_history():
    assert replay(3) == replay(3)


def post_before_durable(monkeypatch):
    step = Lane.step

    def hasty(self: Lane, now: Instant) -> list[Action]:
        actions = step(self, now)
        for action in actions:
            if isinstance(action, Write) and action.serial:
                self.durable(action.serial)
                action.serial = 0
        return actions + step(self, now)

    monkeypatch.setattr(Lane, "step", hasty)


def no_cursor_with_the_batch(monkeypatch):
    def take(self, held, write):
        places = [one.place for one in held]
        self.cursor.take(places)
        write.taken.extend(places)

    monkeypatch.setattr(Lane, "_take", take)


def offset_from_position(monkeypatch):
    monkeypatch.setattr(PartitionOffset, "committable", lambda self: self._position)


def no_tombstone(monkeypatch):
    monkeypatch.setattr(Batch, "forgotten", lambda self: [])


def no_wait_for_foreign_posts(monkeypatch):
    monkeypatch.setattr(recovery, "FOREIGN_POST_S", 0.0)


def no_flag_after_a_crash(monkeypatch):
    def trusting(lane, batch, when_s, write):
        write.entries.append(batch.journaled())
        lane.retry_at(batch, when_s)

    monkeypatch.setattr(recovery, "suspect", trusting)


def crash_forgets_what_was_sent(monkeypatch):
    monkeypatch.setattr(Pace, "restore", lambda self, ended_s: None)


def slot_freed_when_the_request_ends(monkeypatch):
    monkeypatch.setattr(Pace, "ended", lambda self, now_s: self.unsent())


def released_for_ever(monkeypatch):
    def restore(lane, state, now):
        write = untouched(lane, state, now)
        write.entries = [entry for entry in write.entries if not entry[0].startswith("tokens/")]
        lane._awaited.clear()
        write.serial = 0
        lane._take_over_serial = 0
        return write

    untouched = recovery.restore
    monkeypatch.setattr("tests.lane.simulation.shell.restore", restore)


def pairs_forgotten_by_a_crash(monkeypatch):
    monkeypatch.setattr(Window, "travelling", lambda self, held: None)


def promoted_too_early(monkeypatch):
    take = Window.take

    def hasty(self, count_max):
        taken = take(self, count_max)
        self.settled(taken)
        return taken

    monkeypatch.setattr(Window, "take", hasty)


def expired_after_doubt(monkeypatch):
    monkeypatch.setattr(doubt, "unsendable", lambda batch: Final(Status.EXPIRED, EXPIRED))


def guessed_statuses(monkeypatch):
    def guess(intents, records):
        return [Told(Match.FINAL, record) for record in records[:intents]] + [Told(Match.PENDING)] * (
            intents - len(records)
        )

    monkeypatch.setattr(correlate, "_tell", guess)


def sequence_not_counted(monkeypatch):
    def accepted(lane, batch, batch_id, now, write):
        untouched(lane, batch, batch_id, now, write)
        for outcomes in write.outcomes:
            assert outcomes.held
        write.outcomes[:] = [outcomes._replace(sequence=0) for outcomes in write.outcomes]

    untouched = answers._accepted
    monkeypatch.setattr(answers, "_accepted", accepted)


def window_never_due(monkeypatch):
    monkeypatch.setattr(Window, "_find_since", lambda self: setattr(self, "since_s", float("inf")))


@pytest.mark.parametrize(
    ("mistake", "rule"),
    [
        pytest.param(mistake, rule, id=mistake.__name__)
        for mistake, rule in [
            (post_before_durable, "a batch is journaled before its POST"),
            (no_cursor_with_the_batch, "an intent is in exactly one place"),
            (offset_from_position, "no untaken place lies below the offset"),
            (no_tombstone, "an intent is in exactly one place"),
            (no_wait_for_foreign_posts, "an intent is in one request at a time"),
            (no_flag_after_a_crash, "what may have been applied is flagged before it is sent again"),
            (crash_forgets_what_was_sent, "no window holds more than its limit"),
            (slot_freed_when_the_request_ends, "no window holds more than its limit"),
            (released_for_ever, "no window holds more than its limit"),
            (pairs_forgotten_by_a_crash, "intents of a pair do not overtake"),
            (promoted_too_early, "intents of a pair do not overtake"),
            (expired_after_doubt, "what was in doubt is never expired or rejected"),
            (guessed_statuses, "an outcome tells the fate of its own record"),
            (sequence_not_counted, "sequences have no gap"),
            (window_never_due, "what has time is sent"),
        ]
    ],
)
def test_a_mistake_is_found(mistake, rule, monkeypatch):
    mistake(monkeypatch)
    with pytest.raises(Violation) as found:
        replay_many(SEEDS_TO_FIND)
    assert found.value.rule == rule
