"""Where the routing of intents starts, and what is noted of it in the journal."""

import asyncio
from typing import Any

import pytest

from streams.contracts.journal import SourceEntry, StartedEntry
from streams.kafka.positions import Positions
from streams.kafka.standing import Committed, PartitionBlocked, Standing
from streams.worker.intents import NOTE_PERIOD_S, IntentsPositions
from tests.worker.parts import MemoryCommitter, lease


def stands(partition=3, committed=None, *, start=0, end=100, topic_id="A"):
    return Standing("intents", partition, committed, start, end, end - 5, topic_id, 8)


def positions_of(journal=None, start_at="earliest"):
    async def read():
        assert journal is not None, "the journal is not read"
        return journal

    committer: Any = MemoryCommitter()
    return IntentsPositions("journal", start_at, read, committer), committer


def keys(messages):
    return [message.key.decode() for message in messages]


NOTHING = Positions()
STARTED = Positions(started=StartedEntry("A", 6), sources={3: SourceEntry("A", 40)})


@pytest.mark.parametrize(
    ("journal", "standing", "start_at", "start"),
    [
        pytest.param(None, stands(committed=Committed(7, ours=True, topic_id="A")), "latest", 7, id="goes on"),
        pytest.param(NOTHING, stands(), "earliest", 0, id="first start"),
        pytest.param(NOTHING, stands(), "latest", 95, id="first start at the end"),
        pytest.param(
            NOTHING, stands(committed=Committed(50)), "earliest", 50, id="first start where the group was set"
        ),
        pytest.param(STARTED, stands(4), "latest", 95, id="a partition that nobody had got to yet"),
        pytest.param(STARTED, stands(7), "latest", 0, id="a partition that was added"),
    ],
)
@pytest.mark.faults("F11")
async def test_where_reading_starts(journal, standing, start_at, start):
    positions, _ = positions_of(journal, start_at)
    assert await positions.start_of(standing) == start


@pytest.mark.parametrize(
    ("journal", "standing"),
    [
        pytest.param(STARTED, stands(), id="expired"),
        pytest.param(STARTED, stands(committed=Committed(41)), id="moved"),
        pytest.param(STARTED, stands(4, topic_id="B"), id="recreated, not yet read"),
        pytest.param(STARTED, stands(7, start=9), id="added, and gone before it was read"),
        pytest.param(None, stands(committed=Committed(7, ours=True, topic_id="B")), id="recreated"),
        pytest.param(NOTHING, stands(committed=Committed(101)), id="set to where there is no log"),
    ],
)
@pytest.mark.faults("F8", "F9", "F10")
async def test_where_nobody_can_tell_nothing_is_read(journal, standing):
    positions, _ = positions_of(journal)
    with pytest.raises(PartitionBlocked, match=r"intents\[\d\]: .*callstream offsets show"):
        await positions.start_of(standing)


def test_the_position_is_noted_now_and_then_and_at_the_end(play):
    async def story():
        positions, committer = positions_of(NOTHING)
        standing = stands()
        owner = lease("intents", 3, start=await positions.start_of(standing), topic_id="A", standing=standing)
        positions.assigned(owner)
        assert not committer.units, "from the beginning, nothing is to be pinned"
        assert keys(positions.note(owner, 10)) == ["source/3", "started"]
        assert positions.note(owner, 20) == []
        await asyncio.sleep(NOTE_PERIOD_S)  # virtual
        assert keys(positions.note(owner, 30)) == ["source/3"]
        positions.note(owner, 40)
        positions.given_up([owner])
        (unit,) = committer.units
        assert (keys(unit.messages), committer.journaled("source")[0]["offset"]) == (["source/3"], 40)
        assert positions.note(owner, 50) == []

    play(story)


def test_a_first_start_in_the_middle_is_committed_at_once(play):
    async def story():
        positions, committer = positions_of(NOTHING, "latest")
        standing = stands()
        owner = lease("intents", 3, start=await positions.start_of(standing), topic_id="A", standing=standing)
        positions.assigned(owner)
        (unit,) = committer.units
        assert (unit.next_offset, keys(unit.messages)) == (95, ["source/3", "started"])

    play(story)


def test_what_is_lost_notes_nothing(play):
    async def story():
        positions, committer = positions_of(STARTED)
        owner = lease("intents", 3, topic_id="A", standing=stands())
        positions.assigned(owner)
        positions.note(owner, 10)
        positions.note(owner, 20)
        owner.lost = True
        positions.given_up([owner])
        assert not committer.units

    play(story)
