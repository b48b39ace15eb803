"""Partitions that come and go: lanes from the journal, contradictions, and the hand-over."""

import asyncio

import pytest

from streams.contracts.journal import (
    Attempt,
    BatchEntry,
    BatchState,
    CursorEntry,
    HeadEntry,
    Held,
    JournalKey,
    Packer,
    Place,
    TokenEntry,
    TokensEntry,
    encode_entry,
)
from streams.kafka.standing import Committed, PartitionBlocked, Standing
from streams.lane.mints import CRASH_RUN_S
from streams.lane.reading import Room
from streams.lane.recovery import FOREIGN_POST_S, JournalFold
from streams.lane.verdict import Accepted, Minted
from streams.settings.sections import LEASE_FRESH_S, ApiSettings
from streams.worker.draining import GivenUp
from streams.worker.lane_runner import FRESH_S
from streams.worker.sealing import AccountSealer
from streams.worker.takeover import TakeOver
from tests.worker.parts import ACCOUNT, OTHER_ACCOUNT, Shell, chunk_of, lease, new_lane, parcel, row
from tests.worker.virtual import START_MS, START_S, settled


def fold_of(*entries):
    fold = JournalFold()
    for key, entry in entries:
        fold.apply(str(key).encode(), entry if isinstance(entry, bytes) else encode_entry(entry))
    return fold


def batch_of(state, *rows):
    held = [Held(Place(0, index), "intents", 3, one) for index, one in enumerate(rows)]
    attempts = () if state is BatchState.UNSENT else (Attempt(1, START_MS - 1000, 0),)
    return [
        (JournalKey("intents", "b1"), Packer().pack(held)),
        (JournalKey("batch", "b1"), BatchEntry(ACCOUNT, state, len(held), "retry", attempts)),
        (JournalKey("cursor", ACCOUNT), CursorEntry(Place(0, len(held)))),
    ]


def take_over_of(shell, fold):
    async def read_journal(partition):
        assert partition == 0
        return fold

    shell.runner.partitions.clear()
    return TakeOver(shell.runner, read_journal, new_lane, Room(1000))


def states(shell):
    return [entry["state"] for entry in shell.committer.journaled("batch")]


@pytest.mark.parametrize(
    ("state", "waits_s"),
    [pytest.param(BatchState.UNSENT, 0, id="unsent"), pytest.param(BatchState.OPEN, 35, id="open")],
)
@pytest.mark.faults("F84")
def test_a_batch_in_the_journal_is_sent_again_once_no_predecessor_can_be_sending_it(play, state, waits_s):
    async def story():
        shell = Shell()
        take_over = take_over_of(shell, fold_of(*batch_of(state, row(0), row(1))))
        await take_over.assigned(lease(start=1))
        await settled()
        shell.api.mints[0].answer.set_result(Minted("token"))
        await asyncio.sleep(60)  # virtual
        (post,) = shell.api.posts
        assert [one.row.intent_id for one in post.action.held] == ["intent-0", "intent-1"]
        assert waits_s <= post.at_s - START_S < waits_s + 1.5
        shell.api.posts[0].answer.set_result(Accepted("batch-id"))
        await settled()
        flags = [outcome["possible_duplicate"] for outcome in shell.committer.outcomes()]
        assert flags == [state is BatchState.OPEN] * 2

    play(story)


@pytest.mark.faults("F69", "F84")
def test_an_attempt_that_may_have_been_applied_is_flagged_in_the_journal_before_anything_else(play):
    async def story():
        shell = Shell()
        take_over = take_over_of(shell, fold_of(*batch_of(BatchState.OPEN, row(0))))
        await take_over.assigned(lease(start=1))
        assert states(shell) == ["ambiguous"]
        assert shell.committer.units[0].next_offset == 1

    play(story)


@pytest.mark.faults("F35")
def test_what_the_journal_has_taken_is_not_taken_again(play):
    async def story():
        shell = Shell()
        take_over = take_over_of(shell, fold_of(*batch_of(BatchState.ACCEPTED, row(0), row(1))[2:]))
        owner = lease(start=0)
        await take_over.assigned(owner)
        shell.runner.take(chunk_of(owner, 0, parcel(row(0), row(1), row(2))))
        assert shell.runner.partitions[owner].intents == 1

    play(story)


def test_every_account_in_the_journal_gets_its_lane(play):
    async def story():
        shell = Shell()
        cursors = [(JournalKey("cursor", account), CursorEntry(Place(4, 0))) for account in (ACCOUNT, OTHER_ACCOUNT)]
        owner = lease(start=4)
        await take_over_of(shell, fold_of(*cursors)).assigned(owner)
        assert set(shell.runner.partitions[owner].lanes) == {ACCOUNT, OTHER_ACCOUNT}

    play(story)


@pytest.mark.faults("F41")
def test_a_token_that_was_handed_over_is_used_again(play):
    async def story():
        shell = Shell()
        sealed = AccountSealer(ACCOUNT, "key").seal("the token")
        tokens = TokensEntry((TokenEntry(0, START_MS - 1000, sealed),), (START_MS - 1000,), 1, released=True)
        fold = fold_of(*batch_of(BatchState.UNSENT, row(0)), (JournalKey("tokens", ACCOUNT), tokens))
        await take_over_of(shell, fold).assigned(lease(start=1))
        await asyncio.sleep(1)  # virtual
        assert not shell.api.mints
        assert [asked.action.token.secret for asked in shell.api.posts] == ["the token"]

    play(story)


HEAD = HeadEntry("topic-1", 40)


def parcels_at(committed, *, start=0, end=100, topic_id="topic-1"):
    return Standing("parcels", 0, committed, start, end, end, topic_id, 6)


@pytest.mark.parametrize(
    ("head", "standing", "words"),
    [
        pytest.param(HEAD, parcels_at(None), r"60 offsets \[40, 100\) may not", id="an offset that is gone"),
        pytest.param(
            HEAD, parcels_at(Committed(40), topic_id="topic-2"), "created anew", id="another topic of the same name"
        ),
        pytest.param(
            HEAD, parcels_at(Committed(40, ours=True), end=30), r"10 offsets \[30, 40\)", id="a log that was cut"
        ),
        pytest.param(None, parcels_at(None, start=7), r"7 offsets \[0, 7\) are gone", id="gone before a first read"),
    ],
)
@pytest.mark.faults("F9", "F10")
def test_a_journal_that_contradicts_kafka_blocks_the_partition(play, head, standing, words):
    async def story():
        shell = Shell()
        fold = fold_of((JournalKey("head"), head)) if head else JournalFold()
        with pytest.raises(PartitionBlocked, match=words):
            await take_over_of(shell, fold).assigned(lease(standing=standing))
        assert not shell.runner.partitions

    play(story)


@pytest.mark.parametrize("topic_id", [pytest.param("topic-1", id="same"), pytest.param(None, id="old broker")])
def test_a_journal_that_agrees_with_kafka_blocks_nothing(play, topic_id):
    async def story():
        shell = Shell()
        owner = lease(start=40, standing=parcels_at(Committed(40, ours=True, topic_id=topic_id), topic_id=topic_id))
        await take_over_of(shell, fold_of((JournalKey("head"), HEAD))).assigned(owner)
        assert owner in shell.runner.partitions

    play(story)


BEHIND = (JournalKey("cursor", ACCOUNT), CursorEntry(Place(20, 1), behind=True))


def test_an_account_that_is_behind_is_read_from_its_own_place(play):
    async def story():
        shell = Shell()
        owner = lease(start=40, standing=parcels_at(Committed(40, ours=True), start=20))
        take_over = take_over_of(shell, fold_of((JournalKey("head"), HEAD), BEHIND))
        await take_over.assigned(owner)
        partition = shell.runner.partitions[owner]
        shell.runner.take(chunk_of(owner, 40, parcel(row(0)), parcel(row(1), account=OTHER_ACCOUNT)))
        assert partition.intents == 1, "the other account's"
        assert partition.reading.recall_from() == 20

    play(story)


def test_a_log_that_has_lost_what_an_account_still_has_to_read_blocks_the_partition(play):
    async def story():
        shell = Shell()
        take_over = take_over_of(shell, fold_of((JournalKey("head"), HEAD), BEHIND))
        words = rf"begins at 25.* {ACCOUNT} has to read 5 offsets \[20, 25\)"
        with pytest.raises(PartitionBlocked, match=words):
            await take_over.assigned(lease(standing=parcels_at(Committed(40, ours=True), start=25)))
        assert not shell.runner.partitions

    play(story)


DAMAGED = {
    "a batch without its intents": batch_of(BatchState.OPEN, row(0))[1:],
    "intents that cannot be unpacked": [(JournalKey("intents", "b1"), b"x"), *batch_of(BatchState.OPEN, row(0))[1:]],
    "a carry that cannot be unpacked": [(JournalKey("carry", f"{ACCOUNT}/7"), b"x")],
    "a carry without a number": [(JournalKey("carry", ACCOUNT), b"x")],
}


@pytest.mark.parametrize("entries", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.faults("F12")
def test_a_journal_that_makes_no_lanes_blocks_the_partition_and_changes_nothing(play, entries):
    async def story():
        shell = Shell()
        # The tokens of another account were released: taking them over is written down, but not of a blocked partition.
        tokens = (JournalKey("tokens", OTHER_ACCOUNT), TokensEntry((), (), released=True))
        words = r"parcels\[0\]: partition 0 of the journal cannot be understood: .*replica"
        with pytest.raises(PartitionBlocked, match=words):
            await take_over_of(shell, fold_of(tokens, *entries)).assigned(lease())
        assert not shell.runner.partitions
        assert not shell.committer.units

    play(story)


def test_what_was_carried_waits_again(play):
    async def story():
        shell = Shell()
        carry = (JournalKey("carry", f"{ACCOUNT}/7"), Packer().pack([Held(Place(3, 1), "intents", 3, row(0))]))
        cursor = (JournalKey("cursor", ACCOUNT), CursorEntry(Place(40, 0)))
        owner = lease(start=40)
        await take_over_of(shell, fold_of(carry, cursor)).assigned(owner)
        assert shell.runner.partitions[owner].intents == 1
        await settled()
        shell.api.mints[0].answer.set_result(Minted("token"))
        await asyncio.sleep(1)  # virtual
        assert [one.place for one in shell.api.posts[0].action.held] == [Place(3, 1)]
        keys = [message.key for message in shell.committer.messages("journal") if message.value is None]
        assert f"carry/{ACCOUNT}/7".encode() in keys

    play(story)


async def at_work(shell):
    """A lane with one POST under way and one intent waiting."""
    take_over = take_over_of(shell, JournalFold())
    await take_over.assigned(shell.lease)
    shell.partition = shell.runner.partitions[shell.lease]
    shell.offer(row(0))
    await settled()
    shell.api.mints[0].answer.set_result(Minted("token"))
    await asyncio.sleep(1)  # virtual
    assert len(shell.api.posts) == 1
    shell.offer(row(1), offset=1)
    return take_over


@pytest.mark.faults("F18", "F83")
def test_giving_up_waits_for_running_requests_and_then_hands_over(play):
    async def story():
        shell = Shell()
        take_over = await at_work(shell)
        shell.lease.alive = False
        giving_up = asyncio.ensure_future(take_over.revoked([shell.lease], lost=False))
        await asyncio.sleep(10)  # virtual: the window's linger is long over, and nothing new begins
        assert not giving_up.done()
        assert len(shell.api.posts) == 1
        shell.api.posts[0].answer.set_result(Accepted("batch-id"))
        await giving_up
        assert states(shell)[-1] == "accepted"
        released = [entry["released"] for entry in shell.committer.journaled("tokens")]
        assert released[-1] is True
        assert released.count(True) == 1
        assert shell.lease not in shell.runner.partitions
        assert shell.committer.units[-1].next_offset == 1, "the waiting intent is the next owner's"

    play(story)


@pytest.mark.faults("F83")
def test_a_batch_that_was_written_and_not_sent_is_handed_over_as_unsent(play):
    async def story():
        shell = Shell()
        take_over = await at_work(shell)
        shell.api.posts[0].answer.set_result(Accepted("batch-id"))
        await settled()
        shell.committer.at_once = False
        await asyncio.sleep(1)  # virtual: the second batch is written, and waits to be durable
        assert states(shell)[-1] == "open"
        shell.lease.alive = False
        giving_up = asyncio.ensure_future(take_over.revoked([shell.lease], lost=False))
        await settled()
        assert not giving_up.done(), "the hand-over is not durable yet"
        shell.committer.commit()
        await giving_up
        assert "unsent" in states(shell)
        assert len(shell.api.posts) == 1

    play(story)


def test_a_hand_over_is_durable_before_the_partition_is_given_up(play):
    async def story():
        shell = Shell()
        take_over = await at_work(shell)
        shell.committer.at_once = False
        shell.api.posts[0].answer.set_result(Accepted("batch-id"))
        giving_up = asyncio.ensure_future(take_over.revoked([shell.lease], lost=False))
        await asyncio.sleep(5)  # virtual
        assert not giving_up.done()
        shell.committer.commit()
        await giving_up

    play(story)


@pytest.mark.faults("F5", "F20")
def test_what_is_lost_is_forgotten_at_once(play):
    async def story():
        shell = Shell()
        take_over = await at_work(shell)
        units = len(shell.committer.units)
        shell.lease.alive, shell.lease.lost = False, True
        await take_over.revoked([shell.lease], lost=True)
        assert shell.lease not in shell.runner.partitions
        finished = asyncio.ensure_future(shell.runner.finished())
        await asyncio.sleep(60)  # virtual
        assert not finished.done(), "a request that has left is never cancelled"
        shell.api.posts[0].answer.set_result(Accepted("batch-id"))
        await finished
        assert len(shell.committer.units) == units
        assert not shell.fatal

    play(story)


@pytest.mark.faults("F5", "F18")
def test_what_is_lost_while_it_is_handed_over_is_forgotten(play):
    async def story():
        shell = Shell()
        take_over = await at_work(shell)
        shell.committer.at_once = False
        giving_up = asyncio.ensure_future(take_over.revoked([shell.lease], lost=False))
        shell.api.posts[0].answer.set_result(Accepted("batch-id"))
        await asyncio.sleep(5)  # virtual: the hand-over cannot be committed
        shell.lease.alive, shell.lease.lost = False, True
        shell.committer.lose()
        await giving_up
        assert shell.lease not in shell.runner.partitions
        assert take_over.given_up.unknown == 1
        assert not shell.fatal

    play(story)


@pytest.mark.parametrize(
    ("answered", "lost", "told"),
    [
        pytest.param(True, False, GivenUp(sent=1, handed_back=1, batches_handed_back=1), id="handed over"),
        pytest.param(False, True, GivenUp(handed_back=1, batches_handed_back=1, unknown=1), id="lost"),
    ],
)
def test_what_became_of_the_work_is_counted_once(play, answered, lost, told):
    async def story():
        shell = Shell()
        take_over = await at_work(shell)
        shell.lease.alive = False
        giving_up = asyncio.ensure_future(take_over.revoked([shell.lease], lost=lost))
        await settled()
        if answered:
            assert take_over.cut_off() == GivenUp(handed_back=1, batches_handed_back=1, unknown=1)
            shell.api.posts[0].answer.set_result(Accepted("batch-id"))
        await giving_up
        assert take_over.given_up == take_over.cut_off() == told

    play(story)


def test_an_answer_counts_as_unknown_until_its_hand_over_is_committed(play):
    async def story():
        shell = Shell()
        take_over = await at_work(shell)
        shell.committer.at_once = False
        giving_up = asyncio.ensure_future(take_over.revoked([shell.lease], lost=False))
        shell.api.posts[0].answer.set_result(Accepted("batch-id"))
        await asyncio.sleep(5)  # virtual
        assert take_over.cut_off().unknown == 1
        shell.committer.commit()
        await giving_up
        assert take_over.cut_off().unknown == 0

    play(story)


def test_no_request_of_a_previous_owner_can_be_running_when_its_batches_are_sent_again():
    longest_s = max(field.le for field in ApiSettings.model_fields["post_deadline_s"].metadata if hasattr(field, "le"))
    assert LEASE_FRESH_S + longest_s <= FOREIGN_POST_S == CRASH_RUN_S
    assert FRESH_S == LEASE_FRESH_S
