"""Seeded histories of lanes, journal, API and crashes on virtual time, and the proof that mistakes are found."""

from collections import Counter
from dataclasses import replace

import pytest

from streams.contracts.journal import BatchState
from streams.contracts.outcome import Status
from streams.lane import answers, correlate, doubt, recovery, splitting
from streams.lane.actions import Action, Write
from streams.lane.backoff import Backoff
from streams.lane.batch import Batch
from streams.lane.breaker import Breaker
from streams.lane.carry import Carry
from streams.lane.correlate import Match, Told
from streams.lane.instant import Instant
from streams.lane.lane import Lane
from streams.lane.minting import Minting
from streams.lane.mints import Mints
from streams.lane.offsets import PartitionOffset
from streams.lane.pace import Pace
from streams.lane.reading import Reading
from streams.lane.retry_budget import RetryBudget
from streams.lane.settle import EXPIRED, Final
from streams.lane.window import Window
from tests.lane.simulation import history
from tests.lane.simulation.audit import Violation
from tests.lane.simulation.broker import Broker
from tests.lane.simulation.committer import Committer
from tests.lane.simulation.history import replay
from tests.lane.simulation.many import SEEDS_FOR_FLOORS, WANTED, found_seeds, live_through, missing
from tests.lane.simulation.shell import Worker
from tests.lane.simulation.weather import FAULTS, draw_options, draw_weather

# So many seeds in the fast tests, and so many more in the slow ones.
FAST, SLOW, GROUP = 25, 675, 25

# Every mistake below shows within the first few seeds; this leaves room for another order of random draws.
SEEDS_TO_FIND = 300


ONE_PLACE = "an intent is in exactly one place"

# Two owners that both commit break whichever of these comes first.
ANY_CUSTODY = (
    "an intent is in exactly one place|one final outcome|the offset never goes back|sequences have no gap"
    "|only what is in the journal is forgotten|a cursor never goes back"
)


def groups(first, count):
    return [
        pytest.param(range(start, start + GROUP), id=f"{start} to {start + GROUP - 1}")
        for start in range(first, first + count, GROUP)
    ]


def keeps_every_promise(seeds):
    part = live_through(seeds)
    assert part.failed is None, f"{part.story}\nreplay it: uv run poe simulate --seed {part.failed} --trace"
    return part.seen


@pytest.mark.slow
def test_nor_where_nearly_every_post_is_thrown_back(monkeypatch):
    nearly_every_post_is_thrown_back(monkeypatch)
    assert keeps_every_promise(range(GROUP))["post throttled"] > 20 * GROUP


@pytest.mark.faults("F64", "F69", "F98")
@pytest.mark.parametrize("seeds", groups(0, FAST))
def test_no_history_breaks_a_promise(seeds):
    seen = keeps_every_promise(seeds)
    assert sum(seen[fault] for fault in FAULTS) > GROUP
    assert not {"posts", "duplicates", Status.DELIVERED, Status.FAILED, Status.UNKNOWN} - seen.keys()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seeds", groups(FAST, SLOW))
def test_nor_do_hundreds_more(seeds):
    keeps_every_promise(seeds)


def test_what_was_found_once_stays_mended():
    keeps_every_promise(list(found_seeds()))


def test_a_run_that_met_no_fault_proves_nothing():
    assert missing(Counter(), 2) == ["any fault"]
    everything = Counter([*FAULTS, *WANTED])
    assert not missing(everything, SEEDS_FOR_FLOORS)
    assert missing(everything - Counter(["lost"]), SEEDS_FOR_FLOORS) == ["lost"]


def test_the_first_seed_that_fails_is_told(monkeypatch):
    post_before_durable(monkeypatch)
    part = live_through(range(SEEDS_TO_FIND))
    assert part.failed is not None
    assert "a batch is journaled before its POST" in part.story
    with pytest.raises(Violation, match=f"(?s)seed {part.failed}, after:.* POST "):
        replay(part.failed, trace_max=None)


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

    monkeypatch.setattr(Lane, "take", take)


def offset_from_position(monkeypatch):
    monkeypatch.setattr(PartitionOffset, "committable", lambda self: self.position)


def no_tombstone(monkeypatch):
    monkeypatch.setattr(Batch, "forgotten", lambda self: [])


def owners_come_and_go(monkeypatch):
    """Mistakes that only show when one owner follows the other at once need a storm to show soon."""

    def stormy(rng):
        return replace(
            draw_weather(rng),
            worker_faults=("kill", "lost"),
            worker_share=0.01,
            absence_s=(0.1, 1.0),
            latency_s=(0.5, 14.0),
            commit_s=(0.1, 8.0),
        )

    monkeypatch.setattr(history, "draw_weather", stormy)


def nearly_every_post_is_thrown_back(monkeypatch):
    """A busy account in a bad hour that hardly ever pauses: so nothing but their budget keeps repetitions few."""

    def throttling(rng):
        calm = replace(draw_weather(rng), commits={}, worker_share=0.0, hand_over_s=None, command_s=None)
        return replace(calm, posts={"throttled": 0.9}, latency_s=(0.02, 0.5), commit_s=(0.005, 0.1))

    def busy(rng):
        wide = replace(draw_options(rng), requests_per_minute_per_token=60, intents_max=1000, open_batches_max=1200)
        return replace(wide, records_max=1, in_flight_max_per_token=3)

    monkeypatch.setattr(history, "draw_weather", throttling)
    monkeypatch.setattr(history, "draw_options", busy)
    monkeypatch.setattr(Backoff, "fail", lambda self, rng, at_least_s=None: 0.2)


def repeated_without_a_budget(monkeypatch):
    nearly_every_post_is_thrown_back(monkeypatch)
    monkeypatch.setattr(RetryBudget, "allows", lambda self, now_s: True)


def no_wait_for_foreign_posts(monkeypatch):
    owners_come_and_go(monkeypatch)
    # Otherwise a successor in such a storm mostly waits for a token until no POST of its predecessor is left.
    monkeypatch.setattr(Minting, "_after_losses_at", lambda *_: float("-inf"))
    monkeypatch.setattr(recovery, "FOREIGN_POST_S", 0.0)


def no_flag_after_a_crash(monkeypatch):
    def trusting(lane, batch, when_s, write):
        write.entries.append(batch.journaled())
        lane.retry_at(batch, when_s)

    monkeypatch.setattr(recovery, "suspect", trusting)


def crash_forgets_what_was_sent(monkeypatch):
    monkeypatch.setattr(Pace, "restore", lambda self, ended_s: None)


def crash_forgets_what_was_minted(monkeypatch):
    owners_come_and_go(monkeypatch)
    monkeypatch.setattr(Mints, "restore", lambda self, entry, now: None)


def slot_freed_when_the_request_ends(monkeypatch):
    monkeypatch.setattr(Pace, "ended", lambda self, now_s: self.unsent())


def released_for_ever(monkeypatch):
    owners_come_and_go(monkeypatch)

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

    def hasty(self, count_max, now_ms):
        taken = take(self, count_max, now_ms)
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


def replay_to_the_last_stable_offset(monkeypatch):
    owners_come_and_go(monkeypatch)
    monkeypatch.setattr(Broker, "once_settled", lambda self, event: event())


def commits_that_nobody_fences(monkeypatch):
    owners_come_and_go(monkeypatch)

    def check(self, transaction, sent_s):
        transaction.checked, transaction.sent_s = not transaction.ended, sent_s
        return transaction.checked

    monkeypatch.setattr(Broker, "check", check)


def requests_on_a_stale_lease(monkeypatch):
    monkeypatch.setattr(Committer, "fresh", property(lambda self: self._confirmed_s > 0))


def fresh_from_the_end_of_a_commit(monkeypatch):
    committed = Committer._committed

    def late(self, transaction):
        transaction.sent_s = self._time.now_s
        committed(self, transaction)

    monkeypatch.setattr(Committer, "_committed", late)


def sent_again_without_end(monkeypatch):
    def forgetful(lane, batch, when_s, write):
        batch.entry = replace(batch.entry, state=BatchState.AMBIGUOUS, possible_duplicate=True)
        write.entries.append(batch.journaled())
        lane.retry_at(batch, when_s)

    monkeypatch.setattr(answers, "suspect", forgetful)


def sent_again_though_accepted(monkeypatch):
    def accepted(lane, batch, batch_id, now, write):
        batch.entry = replace(batch.entry, possible_duplicate=True)
        answers._unsent(lane, batch, now.boot_s, write)

    monkeypatch.setattr(answers, "_accepted", accepted)


def rejected_without_a_dead_letter(monkeypatch):
    def rejected(lane, batch, verdict, write):
        untouched(lane, batch, verdict, write)
        write.dead.clear()

    untouched = splitting._reject
    monkeypatch.setattr(splitting, "_reject", rejected)


def refused_batches_rejected_whole(monkeypatch):
    monkeypatch.setattr(
        splitting, "refused", lambda lane, batch, verdict, _, write: splitting._reject(lane, batch, verdict, write)
    )
    monkeypatch.setattr(answers, "refused", splitting.refused)


def parts_beside_their_batch(monkeypatch):
    def replaced(lane, batch, parts, write):
        made = untouched(lane, batch, parts, write)
        write.entries = [entry for entry in write.entries if entry[1] is not None]
        return made

    untouched = splitting._replace
    monkeypatch.setattr(splitting, "_replace", replaced)


def parts_without_the_doubt(monkeypatch):
    def replaced(lane, batch, parts, write):
        batch.entry = replace(batch.entry, possible_duplicate=False, resends=0)
        return untouched(lane, batch, parts, write)

    untouched = splitting._replace
    monkeypatch.setattr(splitting, "_replace", replaced)


def nothing_is_systemic(monkeypatch):
    monkeypatch.setattr(Breaker, "refusal", lambda self, *_, **__: False)


def expired_too_early(monkeypatch):
    expire = Window.expire
    monkeypatch.setattr(Window, "expire", lambda self, ends_by_ms, most: expire(self, ends_by_ms + 60_000, most))


def never_full(monkeypatch):
    monkeypatch.setattr(Reading, "full", lambda self, lane: False)


def any_number_in_flight(monkeypatch):
    monkeypatch.setattr(Lane, "_may_post", lambda self: True)


def handed_over_while_it_runs(monkeypatch):
    release = Worker._release_if_quiet

    def hasty(self):
        self._requests.running = 0
        release(self)

    monkeypatch.setattr(Worker, "_release_if_quiet", hasty)


def held_is_sent_again(monkeypatch):
    monkeypatch.setattr(doubt, "holds", lambda policy: False)


def decided_on_too_early(monkeypatch):
    monkeypatch.setattr(Lane, "may_leave", lambda self, batch, now: True)


def behind_is_not_journaled(monkeypatch):
    def fall_behind(self, lane):
        untouched(self, lane)
        return Write()

    untouched = Reading.fall_behind
    monkeypatch.setattr(Reading, "fall_behind", fall_behind)


def behind_is_forgotten_by_a_crash(monkeypatch):
    monkeypatch.setattr(Reading, "resume", lambda self, lane: self.count(lane))


def read_live_while_behind(monkeypatch):
    def pass_over(self, lane, offset):
        write = untouched(self, lane, offset)
        lane.mark = None
        return write

    untouched = Reading.pass_over
    monkeypatch.setattr(Reading, "pass_over", pass_over)


def recalled_with_a_gap(monkeypatch):
    def wants(self, lane, offset, start):
        return lane.mark is not None and lane.mark <= offset and not self.full(lane)

    monkeypatch.setattr(Reading, "wants", wants)


def mark_moved_on_over_what_was_not_offered(monkeypatch):
    def recalled_to(self, start, position):
        for stalled in self._stalled:
            stalled.mark = max(stalled.mark, position)
        untouched(self, start, position)

    untouched = Reading.recalled_to
    monkeypatch.setattr(Reading, "recalled_to", recalled_to)


def mark_moved_back(monkeypatch):
    def pass_over(self, lane, offset):
        write = untouched(self, lane, offset)
        lane.mark = max(0, offset - 5)
        return write

    untouched = Reading.pass_over
    monkeypatch.setattr(Reading, "pass_over", pass_over)


def caught_up_too_early(monkeypatch):
    monkeypatch.setattr(Reading, "caught_up", lambda self, lane, submitted_offset: lane.mark is None)


def carried_without_content(monkeypatch):
    def add(self, held):
        list(untouched(self, held))
        return []

    untouched = Carry.add
    monkeypatch.setattr(Carry, "add", add)


def carry_forgotten_too_early(monkeypatch):
    def take(self, held):
        entries, others = untouched(self, held)
        return [(key, None) for key, _ in entries], others

    untouched = Carry.take
    monkeypatch.setattr(Carry, "take", take)


def carry_never_forgotten(monkeypatch):
    untouched = Carry.take
    monkeypatch.setattr(Carry, "take", lambda self, held: ([], untouched(self, held)[1]))


def carry_not_restored(monkeypatch):
    monkeypatch.setattr(Carry, "waiting", lambda self: [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "rule"),
    [
        pytest.param(mistake, rule, id=mistake.__name__)
        for mistake, rule in [
            (post_before_durable, "a batch is journaled before its POST"),
            (no_cursor_with_the_batch, "an intent is in exactly one place"),
            (offset_from_position, "who is not behind is waited for"),
            (no_tombstone, "an intent is in exactly one place"),
            (no_wait_for_foreign_posts, "an intent is in one request at a time"),
            (
                no_flag_after_a_crash,
                (
                    "what may have been applied is flagged before it is sent again|"
                    "what was in doubt is never expired or rejected"
                ),
            ),
            (crash_forgets_what_was_sent, "no window holds more than its limit"),
            (crash_forgets_what_was_minted, "no window holds more than its limit"),
            (slot_freed_when_the_request_ends, "no window holds more than its limit"),
            (released_for_ever, "no window holds more than its limit"),
            (
                pairs_forgotten_by_a_crash,
                "intents of a pair do not overtake|two intents of a pair never share a batch",
            ),
            (promoted_too_early, "two intents of a pair never share a batch"),
            (expired_after_doubt, "what was in doubt is never expired or rejected"),
            (guessed_statuses, "an outcome tells the fate of its own record"),
            (sequence_not_counted, "sequences have no gap"),
            (window_never_due, "what has time is sent|one account holds up no other"),
            (replay_to_the_last_stable_offset, ANY_CUSTODY),
            (commits_that_nobody_fences, ANY_CUSTODY),
            (requests_on_a_stale_lease, "no request leaves without a commit that has confirmed the lease"),
            (fresh_from_the_end_of_a_commit, "no request leaves without a commit that has confirmed the lease"),
            (sent_again_without_end, "what is in doubt is sent again so often at most"),
            (sent_again_though_accepted, "what is sent again has a reason"),
            (repeated_without_a_budget, "repetitions have a budget"),
            (rejected_without_a_dead_letter, "what is rejected is a dead letter"),
            (refused_batches_rejected_whole, "what is rejected was refused alone"),
            (parts_beside_their_batch, "an intent is in exactly one place"),
            (
                parts_without_the_doubt,
                (
                    "what may have been applied is flagged before it is sent again|"
                    "what was in doubt is never expired or rejected"
                ),
            ),
            (nothing_is_systemic, "few are rejected while nothing is accepted"),
            (expired_too_early, "nothing expires before its time"),
            (never_full, "a lane has its bounds"),
            (any_number_in_flight, "a lane has its bounds"),
            (held_is_sent_again, "what is held is never sent again by us"),
            (
                decided_on_too_early,
                ("nothing is sent for an account that is paused|after an ambiguity one POST at a time"),
            ),
            (
                handed_over_while_it_runs,
                "what is sent again has a reason|no window holds more than its limit",
            ),
            (behind_is_not_journaled, "who is not behind is waited for"),
            (behind_is_forgotten_by_a_crash, ONE_PLACE),
            (read_live_while_behind, ONE_PLACE),
            (recalled_with_a_gap, ONE_PLACE),
            (mark_moved_on_over_what_was_not_offered, f"{ONE_PLACE}|intents of a pair do not overtake"),
            (mark_moved_back, "parcels are offered once, in order"),
            (caught_up_too_early, "the offset never goes back"),
            (carried_without_content, ONE_PLACE),
            (carry_forgotten_too_early, ONE_PLACE),
            (carry_never_forgotten, ONE_PLACE),
            (carry_not_restored, "intents of a pair do not overtake"),
        ]
    ],
)
def test_a_mistake_is_found(mistake, rule, monkeypatch):
    mistake(monkeypatch)
    # A mistake may break other promises first, and which depends on the histories; its own must break, too.
    assert any(_broken_in(seed) in rule.split("|") for seed in range(SEEDS_TO_FIND))


def _broken_in(seed):
    try:
        replay(seed)
    except Violation as found:
        return found.rule
    return None
