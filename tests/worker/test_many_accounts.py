"""Ten thousand accounts in one worker: one schedule, little memory."""

import asyncio
import uuid
from pathlib import Path

import pytest
import structlog

from streams.contracts.journal import Packer
from streams.lane.verdict import Accepted, Minted
from streams.worker import observe
from tests.worker import parts
from tests.worker.parts import Shell, chunk_of, parcel, row
from tests.worker.virtual import START_S, settled

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ACCOUNTS = 10_000

# Of an account with a POST under way, all that a test keeps of it included.
LANE_BYTES_MAX = 60_000


def memory_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Silent(structlog.BoundLoggerBase):
    """Twenty thousand lines would be most of the test."""

    def info(self, *_, **__):
        pass

    warning = info


async def committed(shell):
    await settled()
    shell.committer.commit()
    await settled()


@pytest.mark.faults("F37")
def test_ten_thousand_accounts_with_one_intent_each_leave_in_time_and_stay_small(play, monkeypatch):
    monkeypatch.setattr(observe, "log", structlog.wrap_logger(None, wrapper_class=Silent))
    # As in production, all lanes share one.
    packer = Packer()
    monkeypatch.setattr(parts, "Packer", lambda: packer)
    before = memory_bytes()

    async def story():
        shell = Shell(statuses="none")
        shell.committer.at_once = False
        names = [str(uuid.UUID(int=number)) for number in range(1, ACCOUNTS + 1)]
        parcels = (parcel(row(number), account=account) for number, account in enumerate(names))
        shell.runner.take(chunk_of(shell.lease, 0, *parcels))
        await committed(shell)
        assert len(shell.api.mints) == ACCOUNTS
        for asked in shell.api.mints:
            asked.answer.set_result(Minted("token"))
        await committed(shell)
        await asyncio.sleep(0.3)  # virtual: beyond the linger
        await committed(shell)
        assert len(shell.api.posts) == ACCOUNTS
        assert max(post.at_s for post in shell.api.posts) - START_S < 0.5
        assert memory_bytes() - before < ACCOUNTS * LANE_BYTES_MAX
        for post in shell.api.posts:
            post.answer.set_result(Accepted("batch"))
        await committed(shell)
        assert all(owned.lane.idle for owned in shell.partition.lanes.values())
        assert not shell.fatal

    play(story)
