"""What an operator sees of a breaker: metrics, and log events without a number in them."""

import asyncio

import pytest
from structlog.testing import capture_logs

from streams.lane.breaker import BreakerState, Cause
from streams.lane.verdict import Accepted, Minted, Refuse, Split
from streams.worker.clock import read_clock
from tests.worker.parts import Shell, row
from tests.worker.virtual import settled


def shown(shell):
    """The breakers' gauges that are not 0, by state and cause, and the intents that are suspects."""
    metrics = shell.runner.observer.metrics
    shell.runner.observer.sampled([shell.partition], read_clock())
    gauges = {
        (state, cause): metrics.breakers.labels(state, cause)._value.get()
        for state in (BreakerState.OPEN, BreakerState.HALF_OPEN)
        for cause in Cause
    }
    return {key: value for key, value in gauges.items() if value}, metrics.refused_records._value.get()


def openings(shell, cause):
    return shell.runner.observer.metrics.breaker_openings.labels(cause)._value.get()


async def answered(shell, verdict):
    """Wait until the next POST is under way, and answer it."""
    for _ in range(1000):
        if shell.api.posts and not shell.api.posts[-1].answer.done():
            break
        await asyncio.sleep(1)  # virtual
    shell.api.posts[-1].answer.set_result(verdict)
    await settled()


async def with_token(shell, count):
    shell.offer(*[row(number) for number in range(count)])
    await settled()
    shell.api.mints[0].answer.set_result(Minted("token"))
    await settled()


@pytest.mark.faults("F47")
def test_an_account_that_is_forbidden_is_shown_until_it_is_not(play):
    async def story():
        shell = Shell(statuses="none")
        with capture_logs() as logged:
            await with_token(shell, 3)
            await answered(shell, Refuse("forbidden-error"))
            assert shown(shell) == ({(BreakerState.OPEN, Cause.FORBIDDEN): 1}, 0)
            assert openings(shell, Cause.FORBIDDEN) == 1
            await answered(shell, Accepted("b-1"))
            assert shown(shell) == ({}, 0)
        (opened,) = [each for each in logged if each["event"] == "breaker_opened"]
        assert (opened["cause"], opened["times"], opened["log_level"]) == ("forbidden", 1, "warning")
        assert opened["remedy"]
        assert [each["cause"] for each in logged if each["event"] == "breaker_closed"] == ["forbidden"]

    play(story)


@pytest.mark.faults("F60")
def test_an_account_of_which_everything_is_refused_is_shown_with_its_suspects(play):
    async def story():
        shell = Shell(statuses="none", in_flight_max_per_token=1)
        with capture_logs() as logged:
            await with_token(shell, 100)
            for _ in range(6):
                await answered(shell, Split("http_400", "receiver", None))
        assert shown(shell) == ({(BreakerState.OPEN, Cause.REFUSED): 1}, 100)
        assert openings(shell, Cause.REFUSED) == 1
        assert [each["event"] for each in logged if each["log_level"] == "warning"] == [
            *["batch_refused"] * 6,
            "breaker_opened",
        ]
        assert not shell.committer.messages("dead_letters")

    play(story)
