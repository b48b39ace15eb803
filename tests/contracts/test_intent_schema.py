"""The schema files, the examples beside them, and the models: three sayings of one thing."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from streams.contracts.intent import CALL_INTENT, FIELDS, TOLERANT_CALL_INTENT
from streams.contracts.schemas import CONTRACTS, SCHEMAS_DIRECTORY, Contract, json_schema, schema_text, write_schemas
from streams.intake.reader import Expired, Refused, ValidIntent
from streams.intake.reasons import Code
from tests.intake.samples import FULL, read

EXAMPLES = SCHEMAS_DIRECTORY / "examples" / "call-intent.v1"
VALID = sorted((EXAMPLES / "valid").iterdir())
INVALID = sorted((EXAMPLES / "invalid").iterdir())

CALL_INTENT_SCHEMA = json_schema(CONTRACTS[0])
SCHEMA = jsonschema_rs.Draft7Validator(CALL_INTENT_SCHEMA)
STRICTEST: dict[str, Any] = {"strict_unknown_fields": True, "reason_characters": "reject"}

# What is no text that an example could hold, or no example that anybody wants to read.
WITHOUT_EXAMPLE = {Code.TOMBSTONE, Code.TOO_LARGE}


def fits(value: bytes) -> bool:
    """Whether the closed model, without any further rule, takes ``value``."""
    try:
        CALL_INTENT.validate_json(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_schema_file_is_what_the_model_says(contract: Contract) -> None:
    committed = (SCHEMAS_DIRECTORY / contract.file_name).read_text(encoding="utf-8")
    assert committed == schema_text(contract), "run: uv run python -m streams.contracts.schemas"


def test_every_schema_file_has_a_model() -> None:
    assert {path.name for path in SCHEMAS_DIRECTORY.glob("*.json")} == {contract.file_name for contract in CONTRACTS}


def test_schemas_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    write_schemas(tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {contract.file_name for contract in CONTRACTS}


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_schema_is_draft_07(contract: Contract) -> None:
    schema = json_schema(contract)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["$id"] == f"urn:callstream:{contract.name}:v1"
    jsonschema_rs.meta.validate(schema)
    assert "$defs" not in orjson.dumps(schema).decode()


def test_schema_of_a_nested_model_resolves() -> None:
    class Inner(BaseModel):
        """A part."""

        number: int

    class Outer(BaseModel):
        """A whole."""

        inner: Inner

    validator = jsonschema_rs.Draft7Validator(json_schema(Contract("outer", 1, TypeAdapter(Outer))))
    assert validator.is_valid({"inner": {"number": 1}})
    assert not validator.is_valid({"inner": {"number": "1"}})


def test_call_intent_schema_is_closed() -> None:
    assert CALL_INTENT_SCHEMA["additionalProperties"] is False
    assert CALL_INTENT_SCHEMA["properties"].keys() == FIELDS


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_field_is_described_with_an_example_that_fits(field: str) -> None:
    said = CALL_INTENT_SCHEMA["properties"][field]
    assert said["title"]
    assert said["description"].endswith(".")
    assert said["examples"]
    for value in said["examples"]:
        assert SCHEMA.is_valid({**FULL, field: value})


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_valid_example_is_accepted_under_the_strictest_rules(path: Path) -> None:
    value = path.read_bytes()
    assert SCHEMA.is_valid(json.loads(value))
    assert fits(value)
    assert isinstance(read(value, **STRICTEST), ValidIntent)


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_invalid_example_has_the_reason_in_its_name(path: Path) -> None:
    code = path.name.partition("--")[0]
    result = read(path.read_bytes(), **STRICTEST)
    assert isinstance(result, Refused | Expired)
    assert result.reason.code == code


def test_every_reason_has_an_example() -> None:
    assert {path.name.partition("--")[0] for path in INVALID} == set(Code) - WITHOUT_EXAMPLE


@pytest.mark.parametrize("path", [path for path in [*VALID, *INVALID] if path.suffix == ".json"], ids=lambda p: p.stem)
def test_example_is_one_line(path: Path) -> None:
    """So that the folder, concatenated, is a file of intents."""
    assert path.read_bytes().count(b"\n") == 1


RELEASED = [line.split("  ") for line in (EXAMPLES / "released.sha256").read_text().splitlines()]


@pytest.mark.parametrize(("digest", "name"), RELEASED, ids=[name for _, name in RELEASED])
def test_released_example_is_untouched_and_still_valid(digest: str, name: str) -> None:
    """What a dialer was once told to send may be sent for ever: add examples, never change or remove one."""
    value = (EXAMPLES / name).read_bytes()
    assert hashlib.sha256(value).hexdigest() == digest
    assert isinstance(read(value), ValidIntent)


def test_every_valid_example_is_a_promise() -> None:
    assert {name for _, name in RELEASED} == {f"valid/{path.name}" for path in VALID}


# --- Model and schema agree -------------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer())
    | st.text(max_size=12)
)
PHONES = st.from_regex(r"\+{0,2}[0-9]{6,17}\n?", fullmatch=True)
UUIDS = st.uuids().map(str) | st.uuids().map(lambda u: str(u).upper()) | st.uuids().map(lambda u: f"{{{u}}}")
LENGTHS = st.sampled_from([0, 2, 3, 9, 10, 40, 41, 100, 101, 200, 201, 500, 501])
TEXTS = st.tuples(st.sampled_from(["a", "é", "\U0001f4e6", "\u0301", "\0"]), LENGTHS).map(
    lambda pair: pair[0] * pair[1]
)
MAPS = st.dictionaries(st.text(max_size=3), st.text(max_size=3) | SCALARS, max_size=18)
EDGES = st.sampled_from([-1, 0, 2**63 - 1, 2**63, 64 * "a", 65 * "a", "a\n", "high", "HIGH", "normal", "low"])
VALUES = SCALARS | PHONES | UUIDS | TEXTS | MAPS | EDGES | st.lists(SCALARS, max_size=2)
NAMES = st.sampled_from(sorted(FIELDS)) | st.text(max_size=4)


@settings(deadline=None, max_examples=300)
@given(changes=st.dictionaries(NAMES, VALUES, max_size=3), dropped=st.sets(st.sampled_from(sorted(FIELDS)), max_size=1))
def test_model_and_schema_agree(changes: dict[str, Any], dropped: set[str]) -> None:
    """Where they do not is told apart below: integral floats and duplicate keys, which only the model refuses."""
    document = {name: value for name, value in {**FULL, **changes}.items() if name not in dropped}
    assert fits(json.dumps(document).encode()) == SCHEMA.is_valid(document)


@settings(deadline=None)
@given(document=SCALARS | st.lists(SCALARS, max_size=3))
def test_model_and_schema_agree_on_what_is_no_object(document: Any) -> None:
    assert fits(json.dumps(document).encode()) is SCHEMA.is_valid(document) is False


def test_integral_float_is_an_integer_to_the_schema_alone() -> None:
    document = {**FULL, "starts_at": float(FULL["starts_at"])}
    assert SCHEMA.is_valid(document)
    assert not fits(json.dumps(document).encode())


@settings(deadline=None)
@given(changes=st.dictionaries(st.sampled_from(sorted(FIELDS)), VALUES, max_size=2))
def test_rules_only_refuse_more(changes: dict[str, Any]) -> None:
    document = {**FULL, **changes}
    if isinstance(read(json.dumps(document).encode(), **STRICTEST), ValidIntent):
        assert SCHEMA.is_valid(document)


def test_tolerant_shape_has_the_same_fields() -> None:
    extended = orjson.dumps({**FULL, "later": 1})
    assert TOLERANT_CALL_INTENT.validate_json(extended) == FULL
    assert not fits(extended)
