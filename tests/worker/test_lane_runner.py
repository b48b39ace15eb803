"""The shell around lanes: what leaves when, and what becomes of answers."""

import asyncio

import pytest

from streams.lane.verdict import Accepted, Minted, Statuses
from streams.worker.clock import boot_s
from streams.worker.contiguous import ChunkMissing
from streams.worker.lane_runner import FRESH_S
from tests.worker.parts import Shell, kind_of, row
from tests.worker.virtual import START_MS, START_S, settled


async def minted(shell):
    """Offer one intent, and let the lane get its token."""
    shell.offer(row(0))
    await settled()
    shell.api.mints[0].answer.set_result(Minted("token"))
    await settled()


async def posted(shell):
    """As above, until the first POST is under way."""
    await minted(shell)
    await asyncio.sleep(1)  # virtual: beyond the linger
    assert len(shell.api.posts) == 1


def test_a_token_is_minted_only_once_the_attempt_is_durable(play):
    async def story():
        shell = Shell()
        shell.committer.at_once = False
        shell.offer(row(0))
        await settled()
        assert shell.committer.journaled("tokens")
        assert not shell.api.mints
        shell.committer.commit()
        await settled()
        assert len(shell.api.mints) == 1

    play(story)


@pytest.mark.faults("F70")
def test_a_post_leaves_only_once_its_batch_is_durable(play):
    async def story():
        shell = Shell()
        await minted(shell)
        shell.committer.at_once = False
        await asyncio.sleep(60)  # virtual: there is all the time in the world
        (batch,) = shell.committer.journaled("batch")
        assert batch["state"] == "open"
        assert not shell.api.posts
        shell.committer.commit()
        await settled()
        assert [one.row.intent_id for one in shell.api.posts[0].action.held] == ["intent-0"]

    play(story)


def test_what_belongs_together_is_one_unit_with_its_offset(play):
    async def story():
        shell = Shell()
        await posted(shell)
        opened = next(unit for unit in shell.committer.units if "batch" in map(kind_of, unit.messages))
        assert {kind_of(message) for message in opened.messages} == {"batch", "intents", "cursor"}
        assert opened.next_offset == 1, "the only intent of the only parcel is in the journal now"
        assert {message.partition for message in opened.messages} == {0}, "the journal's partition is the parcels'"
        shell.api.posts[0].answer.set_result(Accepted("batch-id"))
        await settled()
        accepted = shell.committer.units[-1]
        assert sorted({message.topic for message in accepted.messages}) == ["journal", "outcomes", "requests"]

    play(story)


def test_a_lane_is_stepped_when_its_time_has_come(play):
    async def story():
        shell = Shell(linger_ms=250)
        await posted(shell)
        assert 0.25 <= shell.api.posts[0].at_s - START_S < 0.3
        shell.api.posts[0].answer.set_result(Accepted("batch-id"))
        await asyncio.sleep(10)  # virtual: beyond the first check
        assert [asked.action.batch_id for asked in shell.api.checks] == ["batch-id"]

    play(story)


def test_a_lane_that_asks_for_the_same_time_again_is_stepped_again(play):
    class Stubborn:
        def __init__(self):
            self.stepped = 0

        def step(self, now):
            self.stepped += 1
            return []

        def wake_at(self, now):
            return START_S + 5 if self.stepped < 3 else float("inf")

    async def story():
        shell = Shell()
        shell.offer(row(0))
        await settled()
        (owned,) = shell.partition.lanes.values()
        owned.lane = stubborn = Stubborn()  # type: ignore[assignment]  # all that the scheduler asks of a lane
        shell.runner.touch([owned])
        await asyncio.sleep(10)  # virtual
        assert stubborn.stepped == 3

    play(story)


@pytest.mark.faults("F21")
def test_nothing_leaves_on_a_lease_that_is_ending(play):
    async def story():
        shell = Shell()
        await minted(shell)
        shell.committer.at_once = False
        await asyncio.sleep(1)  # virtual: the batch is written, and waits to be durable
        shell.lease.alive = False
        shell.committer.commit()
        await settled()
        assert not shell.api.posts
        states = [entry["state"] for entry in shell.committer.journaled("batch")]
        assert states == ["open", "unsent"], "the next owner may send it at once"

    play(story)


@pytest.mark.faults("F5", "F21")
def test_a_lease_that_no_commit_has_confirmed_lately_is_confirmed_first(play):
    async def story():
        shell = Shell()
        await posted(shell)
        shell.api.posts[0].answer.set_result(Accepted("batch-id"))
        await asyncio.sleep(4.9)  # virtual: the check is due 5 s after the acceptance, the lease unconfirmed since
        shell.committer.at_once = False
        units = len(shell.committer.units)
        await asyncio.sleep(20)  # virtual
        assert not shell.api.checks
        assert [list(unit.messages) for unit in shell.committer.units[units:]] == [[]], (
            "a commit of nothing but offsets"
        )
        shell.committer.commit()
        await settled()
        assert len(shell.api.checks) == 1

    play(story)


def test_what_happens_while_a_lease_is_confirmed_may_keep_a_post(play):
    async def story():
        shell = Shell()
        await minted(shell)
        shell.committer.at_once = False
        await asyncio.sleep(1)  # virtual: the batch is written, and waits to be durable
        slow_s = boot_s() - FRESH_S
        shell.committer.commit()
        shell.committer._fresh_at_s[shell.lease] = slow_s
        await settled()
        (owned,) = shell.partition.lanes.values()
        owned.lane.paused = True
        shell.committer.at_once = True
        shell.committer.commit()
        await settled()
        assert not shell.api.posts
        assert shell.committer.journaled("batch")[-1]["state"] == "unsent"
        owned.lane.paused = False
        await asyncio.sleep(1)  # virtual
        shell.runner.touch([owned])
        await asyncio.sleep(1)  # virtual
        assert len(shell.api.posts) == 1

    play(story)


def test_a_call_that_is_over_once_the_lease_is_confirmed_is_not_sent(play):
    async def story():
        shell = Shell()
        await minted(shell)
        shell.committer.at_once = False
        shell.offer(row(1, starts_at=START_MS, ends_at=START_MS + 60_000), offset=1)
        await asyncio.sleep(10)  # virtual: the last commit is too long ago
        for unit in shell.committer.units:
            if not unit.done.done():
                unit.done.set_result(None)  # durable, but the broker looked at the membership long ago
        await asyncio.sleep(60)  # virtual: Kafka is away
        assert not shell.api.posts
        shell.committer.at_once = True
        shell.committer.commit()
        await asyncio.sleep(1)  # virtual
        assert [one.row.intent_id for post in shell.api.posts for one in post.action.held] == ["intent-0"]
        assert [(told["intent_id"], told["status"]) for told in shell.committer.outcomes()] == [("intent-1", "expired")]

    play(story)


def test_a_fresh_lease_needs_no_further_commit(play):
    async def story():
        shell = Shell()
        await posted(shell)
        assert all(unit.messages for unit in shell.committer.units)

    play(story)


def test_a_lease_lost_while_it_is_confirmed_lets_nothing_leave(play):
    async def story():
        shell = Shell()
        await posted(shell)
        shell.api.posts[0].answer.set_result(Accepted("batch-id"))
        await asyncio.sleep(4.9)  # virtual
        shell.lease.lost = True
        await asyncio.sleep(20)  # virtual
        assert not shell.api.checks
        assert not shell.fatal

    play(story)


@pytest.mark.faults("F20")
def test_an_answer_that_comes_after_the_lease_is_lost_is_dropped(play):
    async def story():
        shell = Shell()
        await posted(shell)
        shell.lease.alive = False
        shell.lease.lost = True
        units = len(shell.committer.units)
        shell.api.posts[0].answer.set_result(Accepted("batch-id"))
        await settled()
        assert len(shell.committer.units) == units
        assert not shell.fatal

    play(story)


@pytest.mark.faults("F18")
def test_an_answer_that_comes_while_the_lease_ends_is_recorded(play):
    async def story():
        shell = Shell()
        await posted(shell)
        shell.lease.alive = False
        shell.partition.draining = True
        shell.api.posts[0].answer.set_result(Accepted("batch-id"))
        await settled()
        (outcome,) = shell.committer.outcomes()
        assert outcome["status"] == "accepted"
        await asyncio.sleep(60)  # virtual: nothing new begins
        assert not shell.api.checks

    play(story)


@pytest.mark.faults("F91")
def test_a_request_that_fails_unexpectedly_ends_the_worker(play):
    async def story():
        shell = Shell()
        await posted(shell)
        shell.api.posts[0].answer.set_exception(RuntimeError("a bug"))
        await settled()
        assert shell.fatal == [(1, "a request's task failed: RuntimeError")]

    play(story)


@pytest.mark.faults("F91")
def test_a_unit_that_fails_for_another_reason_than_its_lease_ends_the_worker(play):
    async def story():
        shell = Shell()
        shell.committer.at_once = False
        shell.offer(row(0))
        await settled()
        shell.committer.units[0].done.set_exception(RuntimeError("a bug"))
        await settled()
        assert shell.fatal == [(1, "a unit failed: RuntimeError")]

    play(story)


def test_chunks_of_a_partition_that_is_not_ours_any_more_are_left_alone(play):
    async def story():
        shell = Shell()
        shell.partition.draining = True
        shell.offer(row(0))
        del shell.runner.partitions[shell.lease]
        shell.offer(row(1), offset=1)
        assert not shell.partition.lanes

    play(story)


@pytest.mark.faults("F39")
def test_an_intent_that_ends_too_soon_expires_without_a_token(play):
    async def story():
        shell = Shell()
        soon = row(0)._replace(ends_at=1_700_000_000_000 + 40_000)
        shell.offer(soon)
        await asyncio.sleep(15)  # virtual: within the margin of 30 s now
        (outcome,) = shell.committer.outcomes()
        assert outcome["status"] == "expired"
        assert shell.committer.units[-1].next_offset == 1

    play(story)


def test_statuses_close_a_batch(play):
    async def story():
        shell = Shell()
        await posted(shell)
        shell.api.posts[0].answer.set_result(Accepted("batch-id"))
        await asyncio.sleep(10)  # virtual
        shell.api.checks[0].answer.set_result(Statuses(()))
        await settled()
        assert shell.lane.batches, "no status yet"
        assert [record["request"] for record in shell.committer.told("requests")] == ["mint", "post", "check"]

    play(story)


def test_a_missing_chunk_of_parcels_ends_the_worker(play):
    async def story():
        shell = Shell()
        shell.offer(row(0))
        with pytest.raises(ChunkMissing, match="at 2, expected 1"):
            shell.offer(row(1), offset=2)

    play(story)


def test_no_token_is_asked_for_on_a_lease_that_is_ending(play):
    async def story():
        shell = Shell()
        shell.committer.at_once = False
        shell.offer(row(0))
        await settled()
        shell.lease.alive = False
        shell.committer.commit()
        await settled()
        assert not shell.api.mints
        assert not shell.committer.told("requests"), "only what was asked of the API goes on record"
        assert not shell.fatal

    play(story)
