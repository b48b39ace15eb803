"""What every test may rely on: an environment without settings of the person who runs it."""

import os

import pytest

# How a developer points the suite at a running Kafka; everything else with our prefix would change what a test sees.
KEPT = frozenset({"CALLSTREAM_TEST_BOOTSTRAP"})


@pytest.fixture(autouse=True)
def _scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("CALLSTREAM_") and name not in KEPT:
            monkeypatch.delenv(name)
