"""Parcels to lanes, and what happens once a second."""

import asyncio

import orjson
import pytest
import structlog
from confluent_kafka import KafkaError, KafkaException, Message

from streams.contracts.command import Command, encode_command
from streams.contracts.parcel import encode_parcels
from streams.kafka.lease import Chunk
from streams.kafka.recall import Recalled, RecallGap
from streams.lane.closing import expired
from streams.worker.clock import boot_s, read_clock
from streams.worker.housekeeping import Housekeeping
from streams.worker.recall import Recaller
from streams.worker.submit import Submitter
from tests.worker.parts import ACCOUNT, OTHER_ACCOUNT, Shell, chunk_of, lease, parcel, row
from tests.worker.virtual import settled


async def feed(shell, *chunks):
    async def come():
        for chunk in chunks:
            yield chunk

    await Submitter(shell.runner).run(come())


def rows(count, first=0):
    return [row(first + number) for number in range(count)]


class Log:
    """A partition's log that can be read again, and what went wrong with it. ``opened`` counts its readers."""

    def __init__(self):
        self.parcels = {}
        self.opened = 0
        self.closed = 0
        self.reads = []
        self.error = None
        self.blocked = []
        self.samples = []
        self.start = 0

    def open(self, owner):
        self.opened += 1
        return self

    async def read(self, start, end):
        self.reads.append((start, end))
        if self.error is not None:
            raise self.error
        messages = [
            Message("parcels", 0, offset, key=one.account_id.encode(), value=value)
            for offset, one in sorted(self.parcels.items())
            for value in encode_parcels(one)
            if start <= offset < end
        ]
        return Recalled(start, messages, end)

    async def close(self):
        self.closed += 1

    async def starts_at(self, owner):
        return self.start

    def block(self, owner, reason):
        self.blocked.append((owner, reason))

    def publish(self, shell, first, *parcels):
        """Append parcels and have them read."""
        self.parcels.update(enumerate(parcels, first))
        shell.runner.take(chunk_of(shell.lease, first, *parcels))


def cursors(shell, account=ACCOUNT):
    key = f"cursor/{account}".encode()
    return [orjson.loads(message.value) for message in shell.committer.messages("journal") if message.key == key]


@pytest.fixture
def keeping(play):
    """``keeping(story, ...)`` plays a story with a shell whose housekeeping runs."""

    def run(story, **options):
        async def with_housekeeping():
            shell, log = Shell(**options), Log()
            recaller = Recaller(shell.runner, log.open, log.block, log.starts_at)
            housekeeping = Housekeeping(shell.runner, recaller, lambda: log.samples.append(None))
            task = asyncio.ensure_future(housekeeping.run())
            await story(shell, log)
            task.cancel()

        play(with_housekeeping)

    return run


def test_chunks_of_a_partition_that_has_gone_are_dropped(play):
    async def story():
        shell = Shell()
        await feed(shell, chunk_of(shell.lease, 0, parcel(*rows(2))), chunk_of(lease(), 0, parcel(*rows(5))))
        assert shell.partition.intents == 2

    play(story)


@pytest.mark.faults("F14", "F94", "F95")
def test_a_full_lane_holds_up_nobody(keeping):
    async def story(shell, log):
        log.publish(shell, 0, parcel(*rows(10)), parcel(*rows(3, 10)), parcel(*rows(2), account=OTHER_ACCOUNT))
        assert shell.partition.intents == 12
        assert [cursor["behind"] for cursor in cursors(shell)] == [True]
        assert shell.partition.lanes[OTHER_ACCOUNT].lane.mark is None
        await asyncio.sleep(3)  # virtual
        assert not log.opened, "there is no room to read anything again"

    keeping(story, intents_max=10)


@pytest.mark.faults("F95")
def test_what_a_full_lane_missed_is_read_again_when_there_is_room(keeping):
    async def story(shell, log):
        log.publish(shell, 0, parcel(*rows(10)), parcel(*rows(3, 10)))
        log.publish(shell, 2, parcel(*rows(4, 13)))
        lane = shell.lane
        held = lane.window.take(10, 0)
        write_of = expired(lane, held)
        shell.runner.submit(shell.partition.lanes[ACCOUNT], write_of, read_clock())
        await asyncio.sleep(2)  # virtual
        assert log.reads == [(1, 3)]
        assert len(lane.window) == 7
        assert lane.mark is None
        assert (log.opened, log.closed) == (1, 1)
        await asyncio.sleep(2)  # virtual
        # Nothing untaken lies below the offset, which all others have left at the end of the log.
        assert shell.partition.submitted_offset == 3

    keeping(story, intents_max=10)


@pytest.mark.faults("F14", "F95")
def test_the_lanes_of_a_worker_share_their_room(keeping):
    async def story(shell, log):
        log.publish(shell, 0, *(parcel(*rows(4, 4 * number)) for number in range(4)))
        assert shell.partition.intents == 8, "half of the room, as much as is left"
        log.publish(shell, 4, *(parcel(*rows(1, number), account=OTHER_ACCOUNT) for number in range(20)))
        other = shell.partition.lanes[OTHER_ACCOUNT].lane
        assert len(shell.lane.window) == 8
        assert len(other.window) == 4
        assert shell.partition.room.held == 12

    keeping(story, worker_intents_max=16)


def test_an_account_that_holds_the_offset_for_a_minute_falls_behind_and_catches_up(keeping):
    async def story(shell, log):
        log.publish(shell, 0, parcel(*rows(2)), parcel(account=OTHER_ACCOUNT))
        await asyncio.sleep(58)  # virtual
        assert shell.partition.submitted_offset == 0
        await asyncio.sleep(5)  # virtual
        assert shell.partition.submitted_offset == 2
        (cursor,) = cursors(shell)
        assert (cursor["behind"], cursor["low"]) == (True, [0, 0])
        assert shell.lane.mark is None, "it is still read live"
        log.publish(shell, 2, parcel(row(2)))
        assert len(shell.lane.window) == 3
        await asyncio.sleep(2)  # virtual
        assert shell.partition.submitted_offset == 3
        held = shell.lane.window.take(3, 0)
        shell.runner.submit(shell.partition.lanes[ACCOUNT], expired(shell.lane, held), read_clock())
        await asyncio.sleep(2)  # virtual
        assert cursors(shell)[-1] == {**cursors(shell)[-1], "behind": False, "low": [3, 0]}
        log.publish(shell, 3, parcel(row(3)))
        await asyncio.sleep(2)  # virtual
        assert shell.partition.submitted_offset == 3, "it holds the offset again"

    keeping(story)


def test_the_offset_does_not_go_back_when_several_catch_up_together(play):
    async def story():
        shell, log = Shell(), Log()
        log.publish(shell, 0, parcel(row(0)), parcel(row(1), account=OTHER_ACCOUNT))
        for account in (ACCOUNT, OTHER_ACCOUNT):
            owned = shell.partition.lanes[account]
            shell.runner.fell_behind(owned, shell.partition.reading.fall_behind(owned.lane), read_clock())
            shell.runner.submit(owned, expired(owned.lane, owned.lane.window.take(1, 0)), read_clock())
        log.publish(shell, 2, parcel(row(2), account=OTHER_ACCOUNT), parcel(row(3)))
        Recaller(shell.runner, log.open, log.block, log.starts_at).tend(shell.partition, read_clock())
        offsets = [unit.next_offset or 0 for unit in shell.committer.units if unit.next_offset is not None]
        assert offsets == sorted(offsets)
        assert offsets[-1] == 3
        assert [lane.options.account_id for lane in shell.partition.reading.behind] == [OTHER_ACCOUNT]

    play(story)


@pytest.mark.parametrize(
    ("error", "blocks"),
    [
        pytest.param(RecallGap("parcels", 0, 1), True, id="the log has lost it"),
        pytest.param(KafkaException(KafkaError(KafkaError._TRANSPORT)), False, id="the broker is away"),
    ],
)
def test_an_error_of_recall_concerns_only_those_that_are_behind(keeping, error, blocks):
    async def story(shell, log):
        log.error = error
        log.publish(shell, 0, parcel(*rows(2)), parcel(*rows(2, 2)))
        shell.runner.submit(
            shell.partition.lanes[ACCOUNT], expired(shell.lane, shell.lane.window.take(2, 0)), read_clock()
        )
        await asyncio.sleep(3.5)  # virtual
        assert bool(log.blocked) is blocks
        assert log.opened == log.closed == (1 if blocks else 3)
        assert not shell.fatal

    keeping(story, intents_max=2)


@pytest.mark.parametrize(
    ("start", "warned"),
    [
        pytest.param(0, False, id="nothing was deleted yet"),
        pytest.param(5, False, id="far"),
        pytest.param(8, True, id="near"),
        pytest.param(12, True, id="gone"),
    ],
)
def test_a_log_that_is_about_to_lose_what_is_needed_is_told(play, start, warned):
    async def story():
        shell, log = Shell(intents_max=2), Log()
        log.start = start
        log.publish(shell, 0, *(parcel(account=OTHER_ACCOUNT) for _ in range(10)), parcel(*rows(2)), parcel(row(2)))
        shell.partition.reading.offset.read_to(40)
        recaller = Recaller(shell.runner, log.open, log.block, log.starts_at)
        watching = asyncio.ensure_future(recaller.run())
        with structlog.testing.capture_logs() as logs:
            await asyncio.sleep(61)  # virtual
        watching.cancel()
        told = [(entry["account_id"], entry["low"]) for entry in logs if entry["event"] == "recall_near_log_start"]
        assert told == ([(ACCOUNT, 10)] if warned else [])

    play(story)


def test_recall_ends_with_its_partition(keeping):
    async def story(shell, log):
        log.publish(shell, 0, parcel(*rows(2)), parcel(*rows(2, 2)))
        shell.runner.submit(
            shell.partition.lanes[ACCOUNT], expired(shell.lane, shell.lane.window.take(2, 0)), read_clock()
        )
        shell.partition.draining = True
        await asyncio.sleep(3)  # virtual
        assert not log.opened

    keeping(story, intents_max=2)


def test_an_offset_that_moved_alone_is_committed_alone(keeping):
    async def story(shell, log):
        await asyncio.sleep(2.5)  # virtual
        assert not [unit for unit in shell.committer.units if unit.next_offset != 0]
        shell.runner.take(chunk_of(shell.lease, 0, parcel(account=ACCOUNT)))
        units = len(shell.committer.units)
        await asyncio.sleep(5)  # virtual
        moved = shell.committer.units[units:]
        assert [(list(unit.messages), unit.next_offset) for unit in moved] == [([], 1)]
        assert len(log.samples) == 7

    keeping(story)


def test_ten_thousand_lanes_are_looked_at_every_few_seconds(keeping, monkeypatch):
    async def story(shell, log):
        looks = []
        monkeypatch.setattr(type(shell.runner.observer), "sampled", lambda *_: looks.append(boot_s()))
        await asyncio.sleep(5.5)  # virtual
        assert len(looks) == 5
        shell.partition.lanes.update((str(number), shell.partition.lane_of(ACCOUNT)) for number in range(10_000))
        await asyncio.sleep(21)  # virtual
        assert 5 <= len(looks) - 5 <= 6

    keeping(story)


def test_the_head_follows_the_offset_in_the_same_unit(keeping):
    async def story(shell, log):
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
    async def story(shell, log):
        shell.partition.draining = True
        shell.partition.reading.offset.read_to(7)
        await asyncio.sleep(30)  # virtual
        await settled()
        assert not shell.committer.units

    keeping(story)


def test_the_offset_does_not_go_back_inside_a_chunk(play):
    async def story():
        shell = Shell(intents_max=4)
        pause = Command("command-1", ACCOUNT, "pause", {}, 1_700_000_000_000, "ann@desk")
        values = [*encode_parcels(parcel(*rows(4))), encode_command(pause), *encode_parcels(parcel(*rows(4, 4)))]
        messages = [Message("parcels", 0, 5 + n, key=ACCOUNT.encode(), value=value) for n, value in enumerate(values)]
        await feed(shell, Chunk(shell.lease, messages, 0, 8))
        offsets = [unit.next_offset or 0 for unit in shell.committer.units]
        assert len(offsets) == 2, "the command, and the lane that is full"
        assert offsets == sorted(offsets)

    play(story)
