"""The papers that speak of tests name tests that exist, and the catalogue of faults is whole."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import COLLECTED

ROOT = Path(__file__).parents[2]
FAULTS = "docs/faults.md"
GUARANTEES = "docs/guarantees.md"

ROWS = [f"F{number}" for number in range(1, 99)] + [f"B{number}" for number in range(72, 79)]
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
# What stands instead of a test.
NOT_SHOWN = re.compile(r"^(Not shown|Not held|In chaos runs): \S.{20,}\.$")


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def table() -> list[list[str]]:
    """The cells of each row of the catalogue."""
    lines = [line for line in read(FAULTS).splitlines() if re.match(r"\| [FB]\d", line)]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


@cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse(read(path))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.fixture(scope="module")
def ids(request: pytest.FixtureRequest) -> dict[str, str]:
    """``path::test`` of every collected test, with all that stands in brackets behind it."""
    found: dict[str, str] = {}
    for name in request.config.stash[COLLECTED]:
        test, _, parameters = name.partition("[")
        found[test] = f"{found.get(test, '')} {parameters}"
    return found


def test_every_fault_has_its_row_once_and_in_order() -> None:
    assert [row[0] for row in table()] == ROWS


@pytest.mark.parametrize("row", ROWS)
def test_a_fault_names_the_tests_that_carry_it_or_says_why_not(row: str, ids: dict[str, str]) -> None:
    (cells,) = [cells for cells in table() if cells[0] == row]
    _, fault, disposition, shown = cells
    assert fault
    assert disposition.endswith("."), "what callstream does is a sentence"
    references = REFERENCE.findall(shown)
    assert REFERENCE.sub("", shown).replace("<br>", "").strip() == "" if references else NOT_SHOWN.match(shown)
    for path, test in references:
        assert test in functions(path), f"{path} has no {test}"
        # Where only some files were collected, a test of another file cannot be looked at.
        if any(name.startswith(f"{path}::") for name in ids):
            assert re.search(rf"(?<!\w){row}(?!\w)", ids[f"{path}::{test}"]), f"{test} does not carry {row} in its id"


def test_no_test_carries_a_fault_that_is_not_in_the_catalogue(ids: dict[str, str]) -> None:
    carried = {row for parameters in ids.values() for row in re.findall(r"(?<![\w.])F\d+(?!\w)", parameters)}
    assert carried <= set(ROWS)


def test_every_promise_names_the_tests_that_show_it() -> None:
    promises = [line for line in read(GUARANTEES).splitlines() if line.startswith("- ")]
    assert len(promises) > 20
    for promise in promises:
        references = REFERENCE.findall(promise)
        assert references, f"no test shows: {promise}"
        for path, test in references:
            assert test in functions(path), f"{path} has no {test}"
