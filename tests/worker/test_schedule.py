"""One queue for all lanes: who is stepped when, and what happens in between."""

import asyncio
import random

from streams.worker import schedule
from streams.worker.clock import boot_s
from streams.worker.schedule import SLICE_S, STALE_MIN, Schedule
from tests.worker.virtual import START_S, settled


def lanes(count):
    """Stand-ins, told apart by identity as the real ones are."""
    return [type("Owned", (), {"name": str(number), "wake_at_s": float("inf")})() for number in range(count)]


def started(step):
    made = Schedule(step)
    return made, asyncio.ensure_future(made.run())


def test_lanes_are_stepped_at_their_time_and_only_then(play):
    async def story():
        stepped = []
        made, running = started(lambda owned: stepped.append((owned.name, boot_s())))
        first, second, never = lanes(3)
        made.at(second, START_S + 7.0)
        made.at(first, START_S + 3.0)
        made.at(never, START_S + 5.0)
        made.at(never, float("inf"))
        made.touch([])
        await asyncio.sleep(20)  # virtual
        assert stepped == [("0", START_S + 3.0), ("1", START_S + 7.0)]
        running.cancel()

    play(story)


def test_a_lane_that_is_touched_is_stepped_soon_and_once(play):
    async def story():
        stepped = []
        made, running = started(lambda owned: stepped.append(owned.name))
        first, second = lanes(2)
        made.touch([first, second])
        made.touch([first])
        await settled()
        assert stepped == ["0", "1"]
        running.cancel()

    play(story)


def test_a_lane_that_moves_its_time_is_stepped_at_the_last_one(play):
    async def story():
        times = []
        made, running = started(lambda _: times.append(boot_s()))
        (one,) = lanes(1)
        for seconds in (9.0, 2.0, 4.0):
            made.at(one, START_S + seconds)
        made.touch([])
        await asyncio.sleep(20)  # virtual
        assert times == [START_S + 4.0]
        running.cancel()

    play(story)


def test_others_have_the_loop_while_many_lanes_are_stepped(play, monkeypatch):
    async def story():
        now_s = boot_s()
        spent = [0.0]
        monkeypatch.setattr(schedule, "boot_s", lambda: now_s + spent[0])
        between = []
        stepped = []

        def step(owned):
            stepped.append(owned)
            spent[0] += SLICE_S / 10
            if len(stepped) == 5:
                asyncio.get_running_loop().call_soon(lambda: between.append(len(stepped)))

        made, running = started(step)
        made.touch(lanes(100))
        await settled()
        assert len(stepped) == 100
        assert between
        assert between[0] < 20
        running.cancel()

    play(story)


def test_times_that_no_longer_hold_do_not_pile_up(play):
    async def story():
        made, running = started(lambda _: None)
        some, rng = lanes(10), random.Random(1)
        for _ in range(10_000):
            made.at(rng.choice(some), START_S + 3600.0 + rng.random())
        assert len(made._queue) <= 2 * len(some) + STALE_MIN
        assert {owned.name for _, _, owned in made._queue} == {owned.name for owned in some}
        running.cancel()

    play(story)
