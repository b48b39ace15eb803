"""A minute of chaos, for every change; ``poe chaos`` runs it for as long, and in as many ways, as you like."""

import logging

import pytest

from tests.chaos.arena import Plot
from tests.chaos.run import run_in

logger = logging.getLogger(__name__)

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]


def test_a_minute_of_chaos(tmp_path):
    told = run_in(Plot(seconds=60, seed=1, rate=200), tmp_path)
    logger.info("%s", told)
    assert told["problems"] == []
    assert told["lost"] == 0
    assert told["applied_twice"] <= told["in_flight_at_kills"]
    assert told["verdict"] == "valid"
