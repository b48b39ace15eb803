"""A Truecaller that keeps its own documentation: strict, seeded, with faults by switch and a ledger to audit a run.

Reading order: ``clock``, ``faults``, ``limits``, ``records``, ``batches``, ``ledger``, then ``api`` (what one request
is answered, without any I/O) and ``server`` (aiohttp around it). Where the vendor's pages are silent the stricter
reading is taken, so that what passes here has a chance to pass there.
"""

from streams.sandbox.fake_api.api import Credentials, FakeStats
from streams.sandbox.fake_api.clock import Clock, Moment, SystemClock
from streams.sandbox.fake_api.faults import FaultPlan
from streams.sandbox.fake_api.ledger import LedgerError
from streams.sandbox.fake_api.server import FakeOptions, FakeTruecaller

__all__ = [
    "Clock",
    "Credentials",
    "FakeOptions",
    "FakeStats",
    "FakeTruecaller",
    "FaultPlan",
    "LedgerError",
    "Moment",
    "SystemClock",
]
