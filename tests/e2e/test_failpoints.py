"""One kill at every failpoint, each with its predicted end. ``poe chaos --failpoints`` has the other actions."""

import logging
import time

import pytest

from tests.chaos.failpoints import KILLS, told, try_all

logger = logging.getLogger(__name__)

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.faults("F34", "F69", "F84")
def test_a_kill_at_every_failpoint(quick, new_world):
    began_s = time.monotonic()

    def at_quick(**settings):
        return new_world(quick.bootstrap, **settings)

    tried = try_all(KILLS, at_quick, side_by_side=6, protocol="consumer")
    logger.info("%d failpoints in %.0f s", len(KILLS), time.monotonic() - began_s)
    assert {each.case for each in tried} >= set(KILLS)
    assert not told(tried), told(tried)
