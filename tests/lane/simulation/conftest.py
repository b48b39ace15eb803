"""``pytest tests/lane/simulation --seed N`` replays one history."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="replay only the simulated history of this seed")
