"""Writes the settings into the chart's values schema: `python scripts/chart_schema.py`.

The chart's own values are described by hand in ``helm/callstream/values.schema.json``. What stands under ``config`` and
beside each account's ``secret`` is callstream's settings, so these parts are taken from the model; a test fails where
the file differs. What must stay true: an install refuses what the worker would refuse at its start.
"""

import json
from pathlib import Path
from typing import Any

from streams.settings import Settings

PATH = Path(__file__).parents[1] / "helm" / "callstream" / "values.schema.json"

# The chart says these: accounts have credentials in secrets, and an instance is a pod.
SET_BY_CHART = {"Settings": ("accounts",), "KafkaSettings": ("instance",)}
CREDENTIALS = ("key_id", "key_id_file", "key_id_env", "api_key", "api_key_file", "api_key_env")
ACCOUNT_SECRET = {
    "description": "Where the credentials are: keys of a secret.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {"description": "Secret; default: existingSecret.", "type": "string"},
        "keyIdKey": {"description": "Key of the key id; default: <id>.key-id", "type": "string"},
        "apiKeyKey": {"description": "Key of the API key; default: <id>.api-key", "type": "string"},
    },
}


def with_settings(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the values schema with the parts that are callstream's settings taken from the model anew."""
    model = without_noise(Settings.model_json_schema(ref_template="#/definitions/{model}"))
    definitions: dict[str, Any] = model.pop("$defs")
    definitions["Settings"] = model
    for name, dropped in SET_BY_CHART.items():
        drop(definitions[name], dropped)
    account = definitions["AccountSettings"]
    drop(account, CREDENTIALS)
    account["properties"]["secret"] = ACCOUNT_SECRET

    # Defaults that make sense on one machine only have to be replaced in a cluster.
    kafka, settings = definitions["KafkaSettings"], definitions["Settings"]
    kafka["required"] = sorted({*kafka.get("required", []), "bootstrap_servers"})
    settings["required"] = sorted({*settings.get("required", []), "kafka"})
    definitions["ApiSettings"]["properties"]["base_url"]["pattern"] = "^https?://[^/]+"
    definitions["MetricsSettings"]["properties"]["port"]["minimum"] = 1
    return {**schema, "definitions": definitions}


def drop(definition: dict[str, Any], names: tuple[str, ...]) -> None:
    """Take properties out of an object's schema."""
    for name in names:
        definition["properties"].pop(name)
    required = [name for name in definition.pop("required", []) if name not in names]
    if required:
        definition["required"] = required


def without_noise(schema: Any) -> Any:
    """Return the schema without titles and defaults: values.yaml has no second truth about defaults."""
    if isinstance(schema, list):
        return [without_noise(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: without_noise(each) for name, each in value.items()}
        if key in {"properties", "$defs"}
        else without_noise(value)
        for key, value in schema.items()
        if key not in {"title", "default"}
    }


def text(schema: dict[str, Any]) -> str:
    """Return the exact text of the schema's file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(with_settings(json.loads(PATH.read_text(encoding="utf-8")))), encoding="utf-8")
