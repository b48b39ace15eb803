"""The project's own papers agree with each other."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import streams

ROOT = Path(__file__).parents[2]


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads(read("pyproject.toml"))


def test_package_and_chart_have_one_version(pyproject) -> None:
    assert pyproject["project"]["version"] == streams.__version__
    assert yaml.safe_load(read("helm/callstream/Chart.yaml"))["appVersion"] == streams.__version__


def test_every_task_is_helpful_and_listed(pyproject) -> None:
    tasks = {name: task for name, task in pyproject["tool"]["poe"]["tasks"].items() if not name.startswith("_")}
    assert all(task["help"] for task in tasks.values())
    assert set(re.findall(r"^\| `poe (\w+)` \|", read("CONTRIBUTING.md"), re.MULTILINE)) == set(tasks)


def test_every_exception_to_the_linter_has_a_reason() -> None:
    text = read("pyproject.toml")
    section = text[text.index("[tool.ruff.lint]") : text.index("[tool.ruff.lint.flake8-tidy-imports")]
    lines = section.splitlines()
    bare = [
        line
        for number, line in enumerate(lines)
        if re.search(r'"[A-Z]+[0-9]*"', line)
        and "#" not in line
        and not lines[number - 1].startswith("#")
        and 'select = ["ALL"]' not in line
    ]
    assert not bare


def test_hooks_use_the_locked_tools() -> None:
    repositories = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    entries = [hook["entry"] for repository in repositories for hook in repository["hooks"]]
    assert all(entry.startswith(("uv run --locked ", "uv lock --check")) for entry in entries)


def test_the_licence_is_whole() -> None:
    text = read("LICENSE")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_changelog_has_a_place_for_what_is_new() -> None:
    assert "\n## [Unreleased]\n" in read("CHANGELOG.md")
