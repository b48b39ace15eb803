"""The chart's values: described, commented, and closed against typos."""

import copy
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import helm_python
import pytest

pytestmark = pytest.mark.chart

ROOT = Path(__file__).parents[2]


@pytest.fixture
def minimal(variants) -> dict[str, Any]:
    return copy.deepcopy(variants["minimal"])


def put(values: dict[str, Any], path: str, value: Any) -> None:
    *folders, last = path.split(".")
    for folder in folders:
        values = values.setdefault(folder, {})
    values[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("replica", 3, id="misspelt at the top"),
        pytest.param("image.tags", "1", id="misspelt below"),
        pytest.param("probes.liveness.period", 1, id="misspelt in a probe"),
        pytest.param("config.kafak", {}, id="misspelt section of the settings"),
        pytest.param("config.kafka.bootstrap_server", "kafka:9092", id="misspelt setting"),
        pytest.param("config.limits.token_max", 1, id="misspelt nested setting"),
        pytest.param("config.kafka.instance", "one", id="an instance is a pod"),
        pytest.param("config.accounts", [], id="accounts are not settings here"),
        pytest.param("config.kafka.bootstrap_servers", "", id="no brokers"),
        pytest.param("config.api.base_url", "", id="no address of the API"),
        pytest.param("config.api.base_url", "api.example.com", id="an address without scheme"),
        pytest.param("config.labels", False, id="off without quotes"),
        pytest.param("config.window.records_max", 501, id="more records than the API takes"),
        pytest.param("config.metrics.port", 0, id="a random port cannot be scraped"),
        pytest.param("accounts", [], id="no accounts"),
        pytest.param("accounts", [{"id": "91C173BB"}], id="an account id that is no UUID"),
        pytest.param(
            "accounts", [{"id": "91c173bb-28d8-4030-9722-8663ff9589f3", "api_key": "x"}], id="a key in values"
        ),
        pytest.param("terminationGracePeriodSeconds", 89, id="less grace than a drain takes"),
        pytest.param("replicas", -1, id="negative replicas"),
        pytest.param("image.digest", "latest", id="a digest that is none"),
        pytest.param("podDisruptionBudget.maxUnavailable", 0, id="a budget that blocks every drain"),
        pytest.param("podAnnotations.a", 1, id="an annotation that is a number"),
    ],
)
def test_a_mistake_fails_at_install(chart, minimal, path, value) -> None:
    chart.validate_schema(minimal)
    put(minimal, path, value)
    with pytest.raises(helm_python.HelmValuesError):
        chart.validate_schema(minimal)


@pytest.mark.parametrize("missing", ["config", "accounts"])
def test_what_has_no_default_has_to_be_set(chart, minimal, missing) -> None:
    minimal.pop(missing)
    with pytest.raises(helm_python.HelmValuesError):
        chart.validate_schema(minimal)


def test_a_missing_secret_is_named(chart, minimal) -> None:
    minimal.pop("existingSecret")
    chart.validate_schema(minimal)
    with pytest.raises(helm_python.HelmRenderError, match="name the secret with the accounts' credentials"):
        chart.render(minimal, name="calls-eu", namespace="calls")


def test_every_value_is_commented(chart_path) -> None:
    """A value has a comment above it; a mapping may leave the comments to its keys."""
    lines = (chart_path / "values.yaml").read_text(encoding="utf-8").splitlines()
    bare = []
    for number, line in enumerate(lines):
        found = re.match(r"^( {0,2})(\w+):(.*)", line)
        if not found or lines[number - 1].strip().startswith("#"):
            continue
        opens_mapping = not found[3] and lines[number + 1].startswith(found[1] + "  # --")
        parent_is_explained = found[1] and found_parent(lines, number)
        if not opens_mapping and not parent_is_explained:
            bare.append(f"{number + 1}: {line}")
    assert not bare


def found_parent(lines: list[str], number: int) -> bool:
    """Whether the top-level mapping around a line is commented as a whole."""
    start = max(index for index in range(number) if re.match(r"^\w", lines[index]))
    return lines[start - 1].startswith("#")


def test_every_value_of_the_schema_has_a_default(chart) -> None:
    missing = list(undocumented(chart.schema, chart.values, ""))
    assert missing == ["global"]


def undocumented(schema: dict[str, Any], values: dict[str, Any], path: str) -> list[str]:
    """Closed objects of the schema hold nothing that ``values.yaml`` does not show."""
    found = []
    for name, below in schema.get("properties", {}).items():
        if name not in values:
            found.append(f"{path}{name}")
        elif below.get("additionalProperties") is False and path != "probes.":
            found += undocumented(below, values[name], f"{path}{name}.")
    return found


def test_the_schema_has_the_settings_of_the_model(chart_path) -> None:
    spec = importlib.util.spec_from_file_location("chart_schema", ROOT / "scripts" / "chart_schema.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    committed = (chart_path / "values.schema.json").read_text(encoding="utf-8")
    assert committed == script.text(script.with_settings(json.loads(committed))), "run `poe schemas`"
