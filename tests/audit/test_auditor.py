"""The auditor finds nothing in a clean run, and each thing that is wrong under its own name."""

import asyncio

import pytest

from streams.worker import clock
from tests.audit.recorded import INTENTS, audited, record
from tests.worker.virtual import Clocks, VirtualLoop


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        patch.setattr(clock, "time", Clocks())
        return runner.run(record(tmp_path_factory.mktemp("run") / "ledger.ndjson"))


def test_a_clean_run_is_valid(clean):
    report = audited(clean)
    assert (report.verdict, report.anomalies, report.unknown) == ("valid", {}, [])
    assert report.intents == INTENTS == report.outcomes.total()
