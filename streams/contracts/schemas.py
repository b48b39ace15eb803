"""The JSON Schema files in ``schemas/``, generated from the contract models.

``python -m streams.contracts.schemas`` writes them; a test fails where a committed file differs. The dialect is
draft-07, the newest that Kafka schema registries and AsyncAPI tools all read. A new contract is one line in
:data:`CONTRACTS`.
"""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter

from streams.contracts.intent import CALL_INTENT
from streams.contracts.outcome import BatchEvent, IntentOutcome

DIALECT: Final = "http://json-schema.org/draft-07/schema#"
SCHEMAS_DIRECTORY: Final = Path(__file__).resolve().parents[2] / "schemas"


class Contract(NamedTuple):
    """A model whose shape is promised to others, under a name and a version that never change their meaning."""

    name: str
    version: int
    model: TypeAdapter[Any]

    @property
    def file_name(self) -> str:
        """The schema's file in ``schemas/``."""
        return f"{self.name}.v{self.version}.schema.json"


CONTRACTS: Final = (
    Contract("call-intent", 1, CALL_INTENT),
    Contract("intent-outcome", 1, TypeAdapter(IntentOutcome)),
    Contract("batch-event", 1, TypeAdapter(BatchEvent)),
)


def json_schema(contract: Contract) -> dict[str, Any]:
    """Return the contract's schema as draft-07."""
    generated = contract.model.json_schema(ref_template="#/definitions/{model}")
    definitions = generated.pop("$defs", None)
    head = {"$schema": DIALECT, "$id": f"urn:callstream:{contract.name}:v{contract.version}"}
    schema = {**head, **{key: generated.pop(key) for key in ("title", "description")}, **generated}
    return schema if definitions is None else {**schema, "definitions": definitions}


def schema_text(contract: Contract) -> str:
    """Return the exact text of the contract's schema file."""
    return json.dumps(json_schema(contract), indent=2, ensure_ascii=False) + "\n"


def write_schemas(directory: Path = SCHEMAS_DIRECTORY) -> None:
    """Write the schema file of every contract into ``directory``."""
    directory.mkdir(exist_ok=True)
    for contract in CONTRACTS:
        (directory / contract.file_name).write_text(schema_text(contract), encoding="utf-8")


if __name__ == "__main__":
    write_schemas()
