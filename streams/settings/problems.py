"""What is wrong with a configuration, in words: ``setting: what is wrong; remedy``.

A value is quoted only where it cannot be a secret: numbers and choices of settings that take such.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from streams.settings.tree import children, leaves

_NUMBER = re.compile(r"-?\d{1,9}(\.\d{1,9})?")
_SERVICE_LINK = re.compile(r"(?i)_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$")

_A_NUMBER = "is a number"

Location = tuple[int | str, ...]


def of_validation(invalid: ValidationError, variables: Mapping[tuple[str, ...], str]) -> list[str]:
    """One text per problem. ``variables`` names the environment variable of each path that came from there."""
    lines: list[str] = []
    errors = invalid.errors(include_url=False)
    for error in errors:
        if error["type"] == "too_short" and any(
            other["loc"][:-1][: len(error["loc"])] == error["loc"] for other in errors
        ):
            continue  # the items are there, each with its own problem
        location = tuple(part for part in error["loc"] if part != "[key]")
        context = error.get("ctx", {})
        if error["type"] == "refused":
            if context["at"]:
                location = (*location, context["at"])
            texts: Iterable[str] = context["problems"]
        elif error["type"] == "missing":
            lines += _missing(location)
            continue
        else:
            texts = [_text(error["type"], location, error.get("input"))]
        lines += [f"{_name(location, variables)}{text}" for text in texts]
    return lines


def of_unknown_variables(found: Mapping[str, str]) -> list[str]:
    """One text for each variable with our prefix that is no setting, and one for all that Kubernetes put there."""
    links = sorted(name for name, value in found.items() if _SERVICE_LINK.search(name) or value.startswith("tcp://"))
    lines = [f"{name}: is not a setting{_nearest_variable(name)}" for name in sorted(found) if name not in links]
    if links:
        lines.append(
            f"{', '.join(links)}: no settings; they look like the service links that Kubernetes sets for a Service"
            " named callstream; set enableServiceLinks: false in the pod, or rename the Service"
        )
    elif lines:
        lines.append(
            "hint: in Kubernetes, a Service whose name begins with callstream adds such variables;"
            " enableServiceLinks: false in the pod stops it"
        )
    return lines


def _name(location: Location, variables: Mapping[tuple[str, ...], str]) -> str:
    if not location:
        return ""
    for length in range(len(location), 0, -1):
        variable = variables.get(tuple(str(part) for part in location[:length]))
        if variable:
            return f"{_dotted(location)} (from {variable}): "
    return f"{_dotted(location)}: "


def _dotted(location: Location) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _missing(location: Location) -> list[str]:
    """A section that is missing is named by what has to be set in it."""
    path = _pattern(location)
    within = [leaf.path for leaf in leaves().values() if leaf.required and leaf.path.startswith(f"{path}.")]
    if within and not isinstance(location[-1], int):
        return [f"{name}: is required; set it in the file or as {variable_of(name)}" for name in within]
    variable = "" if "[]" in path else f" or as {variable_of(path)}"
    return [f"{_dotted(location)}: is required; set it in the file{variable}"]


def variable_of(path: str) -> str:
    """The environment variable of the setting ``path``."""
    return f"CALLSTREAM_{path.upper().replace('.', '__')}"


def _pattern(location: Location) -> str:
    return re.sub(r"\[\d+\]", "[]", _dotted(location))


def _text(kind: str, location: Location, value: Any) -> str:
    path = _pattern(location)
    if kind == "extra_forbidden":
        return f"is not a setting{_nearest(path)}"
    if kind == "too_short":
        return "is empty; add at least one"
    leaf = leaves().get(path) or leaves().get(path.removesuffix("[]"))
    if leaf is None:
        return f"{_kind_of(value)}; set {'a list' if kind in {'tuple_type', 'list_type'} else 'a section'}"
    if value == "":
        return f"is empty; set {leaf.values}"
    what = _kind_of(value)
    if leaf.values.startswith(("a number", "a whole number", "one of", "a list, each a whole")):
        what = _quoted(value)
    elif isinstance(value, str):
        what = "is not of the right form"
    elif what == _A_NUMBER:
        what = f"{_A_NUMBER}; write text in quotes"
    return f"{what}; set {leaf.values}"


def _quoted(value: Any) -> str:
    """A number, or a short word for a choice; nothing that could be a credential in the wrong place."""
    if isinstance(value, int | float):
        return f"is {value}"
    if isinstance(value, str) and (_NUMBER.fullmatch(value) or (value.isalpha() and len(value) <= 12)):  # noqa: PLR2004 - "best_effort"
        return f"is '{value}'"
    return _kind_of(value)


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "is null"
        case dict():
            return "is a mapping"
        case list() | tuple():
            return "is a list"
        case str():
            return "is text"
        case bool():
            return "is true or false"
        case _:
            return _A_NUMBER if isinstance(value, int | float) else "is of another kind"


def _nearest(path: str) -> str:
    section, _, name = path.rpartition(".")
    near = get_close_matches(name, children(section), n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    elsewhere = get_close_matches(name, [leaf.rsplit(".", 1)[-1] for leaf in leaves()], n=1, cutoff=0.8)
    places = [leaf for leaf in leaves() if elsewhere and leaf.rsplit(".", 1)[-1] == elsewhere[0]]
    return f"; did you mean {places[0]}?" if places else "; remove it"


def _nearest_variable(name: str) -> str:
    known = {variable_of(leaf) for leaf in leaves() if "[]" not in leaf}
    near = get_close_matches(name.upper(), sorted(known), n=1, cutoff=0.8)
    return f"; did you mean {near[0]}?" if near else "; unset it"
