"""What the workers of one history share."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from streams.lane.options import LaneOptions
from streams.lane.reading import Patience, Room
from tests.lane.simulation.audit import Audit
from tests.lane.simulation.broker import Broker
from tests.lane.simulation.fake_api import FakeApi
from tests.lane.simulation.traffic import ParcelLog
from tests.lane.simulation.virtual_time import VirtualTime
from tests.lane.simulation.weather import Weather


@dataclass(slots=True)
class Surroundings:
    """What outlives a worker."""

    time: VirtualTime
    rng: random.Random
    audit: Audit
    api: FakeApi
    log: ParcelLog
    broker: Broker
    options: LaneOptions
    room: Room
    patience: Patience
    trace: Callable[[str], None]
    refs: int = 0

    @property
    def weather(self) -> Weather:
        """What goes wrong now."""
        return self.api.weather
