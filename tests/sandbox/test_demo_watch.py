"""The demo's reader: nothing that was written is missed, and what goes wrong while reading is said."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from streams.kafka.follow import Follower
from streams.sandbox.demo.requests import LedgerReader, Requests
from streams.sandbox.demo.watch import Watch
from streams.settings.sections import TopicSettings

TOPICS = TopicSettings()


class Outcome:
    """An outcome message; each has an offset of its own."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def topic(self) -> str:
        return TOPICS.outcomes

    def value(self) -> bytes:
        source = b'{"topic":"t","partition":0,"offset":%d}' % self._offset
        return b'{"status":"delivered","final":true,"batch_ref":null,"account_id":"a","source":%s}' % source


class Scripted:
    """A follower that is told what to find."""

    def __init__(self, rest: list[Any]) -> None:
        self.coming: list[Any] = []
        self.closed_while_reading: bool | None = None
        self._rest = rest
        self._reading = threading.Lock()

    def read(self, timeout_s: float, messages_max: int) -> list[Any]:
        with self._reading:
            found, self.coming = self.coming, []
            if found and isinstance(found[0], Exception):
                raise found[0]
            return found

    def rest(self) -> Iterator[list[Any]]:
        yield self._rest

    def close(self) -> None:
        self.closed_while_reading = self._reading.locked()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LedgerReader]:
    path = tmp_path / "ledger.ndjson"
    path.write_bytes(b'{"event":"start"}\n')
    with LedgerReader(path) as reader:
        yield reader


def watch(follower: Scripted, ledger: LedgerReader) -> Watch:
    return Watch(cast("Follower", follower), ledger, Requests([]), TOPICS)


async def test_what_comes_wakes_who_waits_for_it(ledger: LedgerReader) -> None:
    follower = Scripted(rest=[])
    async with watch(follower, ledger) as watching:
        waiting = asyncio.create_task(watching.until(lambda: watching.custody.finals == 2, 20.0))
        follower.coming = [Outcome(0), Outcome(1)]
        assert await waiting
    assert follower.closed_while_reading is False


async def test_what_never_comes_is_not_waited_for_for_ever(ledger: LedgerReader) -> None:
    async with watch(Scripted(rest=[]), ledger) as watching:
        assert not await watching.until(lambda: False, 0.01)
        assert await watching.until(lambda: True, 0.0)


async def test_a_nudge_makes_it_look_again(ledger: LedgerReader) -> None:
    done: list[bool] = []
    async with watch(Scripted(rest=[]), ledger) as watching:
        waiting = asyncio.create_task(watching.until(lambda: bool(done), 20.0))
        await asyncio.sleep(0)
        done.append(True)
        watching.nudge()
        assert await waiting


async def test_the_last_words_of_a_worker_are_read(ledger: LedgerReader) -> None:
    async with watch(Scripted(rest=[Outcome(0), Outcome(1)]), ledger) as watching:
        await watching.finish()
        assert watching.custody.final == {"delivered": 2}


async def test_a_topic_that_cannot_be_read_is_an_error_for_who_waits(ledger: LedgerReader) -> None:
    follower = Scripted(rest=[])
    async with watch(follower, ledger) as watching:
        follower.coming = [RuntimeError("offset out of range")]
        with pytest.raises(RuntimeError, match="out of range"):
            await watching.until(lambda: False, 20.0)
