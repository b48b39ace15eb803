"""The page for integrators says what the code does."""

from pathlib import Path

import orjson
import pytest

from streams.contracts.intent import FIELDS
from streams.intake.reader import ValidIntent
from streams.intake.reasons import RULES
from tests.intake.samples import read

PAGE = (Path(__file__).parents[2] / "docs" / "intents.md").read_text(encoding="utf-8")


def reasons_table() -> str:
    rows = [
        f"| `{code}` | {rule.wrong.format(field='a field')} | {rule.remedy} | {rule.mender} |"
        for code, rule in RULES.items()
    ]
    return "\n".join(["| reason | what is wrong | remedy | who can mend it |", "| --- | --- | --- | --- |", *rows])


def test_page_has_the_table_of_reasons() -> None:
    expected = reasons_table()
    assert expected in PAGE, f"the table in docs/intents.md is to be:\n\n{expected}"


def test_page_has_no_reason_that_does_not_exist() -> None:
    rows = [line for line in PAGE.split("## Reasons")[1].splitlines() if line.startswith("| `")]
    assert len(rows) == len(RULES)


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_page_explains_the_field(field: str) -> None:
    rows = [line for line in PAGE.split("## Fields")[1].split("**Null**")[0].splitlines() if line.startswith("|")]
    assert [row for row in rows if f"`{field}`" in row.split("|")[1]]


def test_example_of_the_page_is_valid() -> None:
    example = PAGE.split("```json")[1].split("```")[0].encode()
    assert orjson.loads(example).keys() == FIELDS
    assert isinstance(read(example, reason_characters="reject"), ValidIntent)
