"""Back-pressure of full lanes, and what happens once a second."""

import asyncio

import orjson
import pytest

from streams.worker.housekeeping import Housekeeping
from streams.worker.submit import Submitter
from tests.worker.parts import ACCOUNT, OTHER_ACCOUNT, Shell, chunk_of, lease, parcel, row
from tests.worker.virtual import settled


class Flow:
    def __init__(self):
        self.paused = []
        self.resumed = []

    def pause(self, owner):
        self.paused.append(owner)

    def resume(self, owner):
        self.resumed.append(owner)


async def feed(submitter, *chunks):
    async def come():
        for chunk in chunks:
            yield chunk

    await submitter.run(come())


def rows(count, first=0):
    return [row(first + number) for number in range(count)]


@pytest.mark.faults("F14", "F62")
def test_a_full_lane_pauses_its_partition_once_until_there_is_room(play):
    async def story():
        shell, flow = Shell(), Flow()
        submitter = Submitter(shell.runner, flow, lane_intents_max=10, worker_intents_max=1000)
        await feed(submitter, chunk_of(shell.lease, 0, parcel(*rows(9))))
        assert not flow.paused
        await feed(
            submitter,
            chunk_of(shell.lease, 1, parcel(*rows(1, 9))),
            chunk_of(shell.lease, 2, parcel(*rows(1, 10))),
        )
        assert flow.paused == [shell.lease]
        submitter.resume_where_there_is_room()
        assert not flow.resumed
        shell.lane.window.take(3)
        submitter.resume_where_there_is_room()
        assert not flow.resumed, "eight of ten are not below four fifths"
        shell.lane.window.take(1)
        submitter.resume_where_there_is_room()
        submitter.resume_where_there_is_room()
        assert flow.resumed == [shell.lease]

    play(story)


@pytest.mark.faults("F14")
def test_all_lanes_of_a_worker_share_a_bound(play):
    async def story():
        shell, flow = Shell(), Flow()
        submitter = Submitter(shell.runner, flow, lane_intents_max=100, worker_intents_max=10)
        await feed(
            submitter,
            chunk_of(shell.lease, 0, parcel(*rows(5))),
            chunk_of(shell.lease, 1, parcel(*rows(5, 5), account=OTHER_ACCOUNT)),
        )
        assert flow.paused == [shell.lease]

    play(story)


def test_chunks_of_a_partition_that_has_gone_pause_nothing(play):
    async def story():
        shell, flow = Shell(), Flow()
        submitter = Submitter(shell.runner, flow, lane_intents_max=1, worker_intents_max=1)
        await feed(submitter, chunk_of(lease(), 0, parcel(*rows(5))))
        assert not flow.paused

    play(story)


@pytest.fixture
def keeping(play):
    """``keeping(story)`` plays a story with a shell whose housekeeping runs."""

    def run(story):
        async def with_housekeeping():
            shell = Shell()
            samples: list[None] = []
            submitter = Submitter(shell.runner, Flow(), 1000, 1000)
            housekeeping = Housekeeping(shell.runner, submitter, lambda: samples.append(None))
            task = asyncio.ensure_future(housekeeping.run())
            await story(shell, samples)
            task.cancel()

        play(with_housekeeping)

    return run


def test_an_offset_that_moved_alone_is_committed_alone(keeping):
    async def story(shell, samples):
        await asyncio.sleep(2.5)  # virtual
        assert not [unit for unit in shell.committer.units if unit.next_offset != 0]
        shell.runner.take(chunk_of(shell.lease, 0, parcel(account=ACCOUNT)))
        units = len(shell.committer.units)
        await asyncio.sleep(5)  # virtual
        moved = shell.committer.units[units:]
        assert [(list(unit.messages), unit.next_offset) for unit in moved] == [([], 1)]
        assert len(samples) == 7

    keeping(story)


def test_the_head_follows_the_offset_in_the_same_unit(keeping):
    async def story(shell, samples):
        await asyncio.sleep(1.5)  # virtual
        (head,) = shell.committer.journaled("head")
        assert head["offset"] == 0
        for offset in range(30):
            shell.runner.take(chunk_of(shell.lease, offset, parcel()))
            await asyncio.sleep(1)  # virtual
        heads = [(unit, unit.messages[0]) for unit in shell.committer.units if unit.messages]
        assert len(heads) == 4, "about every ten seconds"
        assert all(orjson.loads(message.value)["offset"] == unit.next_offset for unit, message in heads)
        assert {message.partition for _, message in heads} == {shell.lease.partition}

    keeping(story)


def test_a_partition_that_is_being_given_up_is_left_alone(keeping):
    async def story(shell, samples):
        shell.partition.draining = True
        shell.partition.offset.read_to(7)
        await asyncio.sleep(30)  # virtual
        await settled()
        assert not shell.committer.units

    keeping(story)
