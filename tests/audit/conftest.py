"""A recorded run for the tests of this folder."""

import asyncio

import pytest

from streams.worker import clock
from tests.audit.recorded import record
from tests.worker.virtual import Clocks, VirtualLoop


@pytest.fixture(scope="session")
def clean(tmp_path_factory):
    """A run without anomalies; copy it before changing it."""
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        patch.setattr(clock, "time", Clocks())
        return runner.run(record(tmp_path_factory.mktemp("run") / "ledger.ndjson"))
