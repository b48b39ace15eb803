"""The chart, loaded once, and its manifests as data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

ROOT = Path(__file__).parents[2]

Manifest = dict[str, Any]
Render = Callable[[dict[str, Any]], list[Manifest]]


@pytest.fixture(scope="session")
def chart_path() -> Path:
    return ROOT / "helm" / "callstream"


@pytest.fixture(scope="session")
def chart(chart_path: Path) -> helm_python.Chart:
    return helm_python.Chart.load(chart_path)


@pytest.fixture(scope="session")
def variants(chart_path: Path) -> dict[str, dict[str, Any]]:
    """The values that the chart is tried with, by the name of their file."""
    files = sorted((chart_path / "ci").glob("*-values.yaml"))
    return {file.name.removesuffix("-values.yaml"): yaml.safe_load(file.read_text(encoding="utf-8")) for file in files}


@pytest.fixture(scope="session")
def render(chart: helm_python.Chart) -> Render:
    """Schema, then templates, as an install does it."""

    def manifests(values: dict[str, Any]) -> list[Manifest]:
        chart.validate_schema(values)
        texts = chart.render(values, name="calls-eu", namespace="calls")
        documents = [yaml.safe_load(text) for name, text in texts.items() if not name.endswith(".txt")]
        return [document for document in documents if document]

    return manifests
