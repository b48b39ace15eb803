"""Fixtures of the end-to-end tests."""

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

    def make(at, **settings):
        directory = tmp_path / f"world-{len(made)}"
        directory.mkdir()
        made.append(World(at, directory, **settings))
        return made[-1]

    yield make
    for world in made:
        world.end()
