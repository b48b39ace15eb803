"""The settings as a flat list of leaves: what documentation, error texts and `config show` need to know.

Taken from the JSON Schema of the models, so that no second list of settings can drift.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from streams.settings.model import Settings

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting. ``path`` is dotted, with ``[]`` for items of a list; ``values`` says in words what it may be."""

    path: str
    values: str
    description: str
    required: bool
    default: Any


def file_schema() -> Schema:
    """JSON Schema (2020-12) of the YAML file."""
    schema = Settings.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "callstream settings"
    return schema


@cache
def leaves() -> dict[str, Leaf]:
    """Every setting by its path, in reading order."""
    schema = file_schema()
    return {leaf.path: leaf for leaf in _walk(schema, schema, "")}


def children(path: str) -> list[str]:
    """Names of the settings and sections directly in the section ``path`` (``""``: the whole)."""
    prefix = f"{path}." if path else ""
    found = (leaf[len(prefix) :] for leaf in leaves() if leaf.startswith(prefix))
    return list(dict.fromkeys(name.split(".")[0].removesuffix("[]") for name in found))


def _walk(schema: Schema, node: Schema, prefix: str) -> Iterator[Leaf]:
    required = node.get("required", ())
    for name, raw in node["properties"].items():
        each = _resolve(schema, raw)
        path = f"{prefix}{name}"
        items = _resolve(schema, each.get("items", {}))
        if "properties" in items:
            yield from _walk(schema, items, f"{path}[].")
        elif "properties" in each:
            yield from _walk(schema, each, f"{path}.")
        else:
            default = each.get("default", {} if each.get("type") == "object" else None)
            yield Leaf(path, _values(schema, each), each.get("description", ""), name in required, default)


def _resolve(schema: Schema, node: Schema) -> Schema:
    """Follow a reference, and look through "or null" at what else it may be."""
    for option in node.get("anyOf", ()):
        if option.get("type") != "null":
            return {**_resolve(schema, option), **node}
    if "$ref" in node:
        target: Schema = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        return {**target, **node}
    return node


def _values(schema: Schema, node: Schema) -> str:
    if "enum" in node:
        return "one of " + ", ".join(node["enum"])
    if "const" in node:
        return f"{node['const']}, the only choice in this version"
    kind = node.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "array":
        return "a list, each " + _values(schema, _resolve(schema, node["items"]))
    words = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "object": "a mapping"}
    if kind in {"integer", "number"}:
        return words[kind] + _range(node)
    return words.get(str(kind), _text(node))


def _text(node: Schema) -> str:
    return f"text like {node['examples'][0]}" if "examples" in node else "text"


def _range(node: Schema) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f" from {_plain(low)} to {_plain(high)}"
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return ", ".join(f" {word} {_plain(node[key])}" for key, word in words.items() if key in node).replace(",  ", ", ")


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)
