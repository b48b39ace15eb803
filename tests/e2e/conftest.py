"""Fixtures of the end-to-end tests."""

import itertools

import pytest

from scripts.kafka import Cluster
from tests.e2e.world import World


@pytest.fixture(scope="session")
def quick():
    """A Kafka that notices a dead worker within three seconds in both protocols, and ends its transaction soon."""
    properties = {
        "group.min.session.timeout.ms": "1000",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    }
    with Cluster(session_timeout_s=3, properties=properties) as cluster:
        yield cluster


@pytest.fixture
def new_world(tmp_path):
    """``new_world(bootstrap, **settings)``: a deployment whose processes end with the test."""
    made: list[World] = []
    # Scenarios run in two threads, one for each protocol; counting what was made would give both the same number.
    numbers = itertools.count()

    def make(at, **settings):
        directory = tmp_path / f"world-{next(numbers)}"
        directory.mkdir()
        world = World(at, directory, **settings)
        made.append(world)
        return world

    yield make
    for world in made:
        world.end()
