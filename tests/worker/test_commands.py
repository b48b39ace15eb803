"""Operators' commands on their way through the shell: in order with the parcels, durable before the offset passes."""

import asyncio

import pytest
from confluent_kafka import Message

from streams.contracts.command import Command, answered, encode_command
from streams.kafka.lease import Chunk
from streams.kafka.recall import Recalled
from streams.lane.verdict import Accepted, Ambiguous, Minted
from streams.worker.clock import read_clock
from tests.worker.parts import ACCOUNT, Shell, kind_of, row
from tests.worker.virtual import settled


def command(verb, **arguments):
    return Command(f"id-of-{verb}", ACCOUNT, verb, arguments, 1_700_000_000_000, "ann@desk")


def read(shell, at, *commands):
    values = [encode_command(each) for each in commands]
    messages = [Message("parcels", 0, at + n, value=value) for n, value in enumerate(values)]
    shell.runner.take(Chunk(shell.lease, messages, at, at + len(messages)))


def answers(shell):
    return [found for message in shell.committer.messages("journal") if (found := answered(message.key))]


def test_what_a_command_does_and_its_answer_are_one_unit_before_the_offset_passes_it(play):
    async def story():
        shell = Shell()
        read(shell, 0, command("pause"))
        (unit,) = shell.committer.units
        assert [kind_of(message) for message in unit.messages] == ["account", "command"]
        assert {message.partition for message in unit.messages} == {0}
        assert unit.next_offset == 0
        assert shell.partition.reading.offset.committable() == 1
        assert answers(shell) == [("id-of-pause", "applied")]

    play(story)


def test_commands_and_parcels_take_effect_in_their_order(play):
    async def story():
        shell = Shell()
        shell.offer(row(0))
        read(shell, 1, command("pause"), command("resume"), command("pause"))
        await asyncio.sleep(30)  # virtual
        assert not shell.api.mints
        read(shell, 4, command("resume"))
        await asyncio.sleep(1)  # virtual
        assert len(shell.api.mints) == 1

    play(story)


@pytest.mark.parametrize(("verb", "arguments"), [("resend", {}), ("accept", {"batch_id": "batch-9"}), ("give_up", {})])
def test_an_operator_resolves_a_batch_that_is_held(play, verb, arguments):
    async def story():
        shell = Shell(policy="hold", statuses="none")
        shell.offer(row(0))
        await settled()
        shell.api.mints[0].answer.set_result(Minted("token"))
        await asyncio.sleep(1)  # virtual
        shell.api.posts[0].answer.set_result(Ambiguous("timeout"))
        await asyncio.sleep(600)  # virtual
        assert len(shell.api.posts) == 1
        assert [told["status"] for told in shell.committer.outcomes()] == ["unresolved"]
        (ref,) = shell.lane.batches
        read(shell, 1, command(verb, batch_ref=ref, **arguments))
        await asyncio.sleep(1)  # virtual
        assert answers(shell) == [(f"id-of-{verb}", "applied")]
        if verb == "resend":
            shell.api.posts[1].answer.set_result(Accepted("batch-2"))
            await settled()
        told = shell.committer.outcomes()
        assert [each["final"] for each in told] == ([False, True] if verb == "give_up" else [False, False, True])
        assert [each["sequence"] for each in told] == list(range(len(told)))
        assert told[-1]["status"] == "unknown"
        assert len(shell.api.posts) == (2 if verb == "resend" else 1)

    play(story)


def test_an_account_that_is_behind_is_told_at_once_and_once(play):
    async def story():
        shell = Shell(intents_max=2)
        shell.offer(row(0), row(1))
        shell.offer(row(2), offset=1)
        assert shell.lane.mark == 1, "it is passed over"
        read(shell, 2, command("pause"), command("resume"), command("pause"))
        assert shell.lane.paused
        assert len(answers(shell)) == 3
        again = [Message("parcels", 0, 3, key=ACCOUNT.encode(), value=encode_command(command("resume")))]
        shell.lane.window.take(2, 0)
        shell.partition.recall(Recalled(1, again, 4), read_clock())
        assert shell.lane.paused, "what was read again was applied before"
        assert len(answers(shell)) == 3

    play(story)
