"""Reading the YAML file, strictly: a key stands once, and only ``true`` and ``false`` are booleans.

PyYAML follows YAML 1.1, in which ``off`` is a boolean, dates are objects and the last of two equal keys silently wins.
An operator's ``labels: off`` means the word, and of two equal keys one is a mistake.
"""

import re
from pathlib import Path
from typing import Any

import yaml

# A configuration is a few kilobytes; a wrong path may name anything.
FILE_BYTES_MAX = 1024 * 1024

_BOOLEAN = "tag:yaml.org,2002:bool"
_NOT_RESOLVED = {_BOOLEAN, "tag:yaml.org,2002:timestamp"}


class UnusableFile(Exception):
    """The file cannot be read as settings. The text says why and never quotes a value."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NOT_RESOLVED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        keys = [key.value for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1 and key != "<<"}
        if twice:
            raise UnusableFile(f"line {node.start_mark.line + 1}: {', '.join(sorted(twice))} stands twice; remove one")
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(_BOOLEAN, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in the file ``path``, or raise :class:`UnusableFile`."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UnusableFile(f"cannot be read: {error.strerror}; name an existing file") from None
    if len(content) > FILE_BYTES_MAX:
        raise UnusableFile("is larger than 1 MiB; name callstream's YAML file")
    try:
        tree = yaml.load(content, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UnusableFile(f"{where}is not YAML: {error.problem}; mend the line or the one before") from None
    except RecursionError:
        raise UnusableFile("is nested too deeply; name callstream's YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UnusableFile("is not YAML in UTF-8; name callstream's YAML file") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise UnusableFile("is no mapping of settings; see config.example.yaml")
    return tree
