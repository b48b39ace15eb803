"""From a YAML file and the environment to settings, or to one error that lists everything that is wrong.

Order, strongest first: environment, file, defaults. An operator mends a configuration in one go, so problems are
collected, not raised one by one; each says the setting, what is wrong and the remedy. No text ever holds a value that
could be a secret.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError
from pydantic_settings.sources.utils import parse_env_vars

from streams.contracts.exits import OperatorError
from streams.settings import problems as say
from streams.settings.model import Settings
from streams.settings.yaml_file import UnusableFile, read_yaml

PREFIX = "CALLSTREAM_"
CONFIG_VARIABLE = "CALLSTREAM_CONFIG"

# Variables with our prefix that are no settings: the file, the tests' broker, the tests' failpoints.
KNOWN_VARIABLES = frozenset({CONFIG_VARIABLE, "CALLSTREAM_TEST_BOOTSTRAP", "CALLSTREAM_FAILPOINT"})

Tree = dict[str, Any]
Path_ = tuple[str, ...]


class ConfigError(OperatorError):
    """The configuration cannot be used. ``problems`` has one line each: ``setting: what is wrong; remedy``."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Layers:
    """What file and environment say, before it is checked."""

    file: Tree
    environment: Tree
    variables: Mapping[Path_, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def merged(self) -> Tree:
        """The file with the environment laid over it."""
        return _overlay(self.file, self.environment)


def load_settings(config_path: Path | None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read, merge and check the settings.

    ``config_path`` ``None`` takes the file that ``CALLSTREAM_CONFIG`` names, if any; ``environ`` ``None`` takes the
    process's environment. Raises :class:`ConfigError` with every problem found.
    """
    return settings_of(read_layers(config_path, environ))


def settings_of(layers: Layers) -> Settings:
    """Check what was read. Raises :class:`ConfigError`."""
    found = list(layers.problems)
    try:
        settings = Settings.model_validate(layers.merged())
    except ValidationError as invalid:
        found += say.of_validation(invalid, layers.variables)
    else:
        if not found:
            return settings
    raise ConfigError(*dict.fromkeys(found))


def read_layers(config_path: Path | None, environ: Mapping[str, str] | None = None) -> Layers:
    """Read file and environment. An unreadable file raises :class:`ConfigError` at once: all else would be noise."""
    variables = dict(os.environ if environ is None else environ)
    path = config_path or (Path(variables[CONFIG_VARIABLE]) if variables.get(CONFIG_VARIABLE) else None)
    try:
        file = read_yaml(path) if path else {}
    except UnusableFile as unusable:
        raise ConfigError(f"{path}: {unusable}") from None
    ours = {name: value for name, value in variables.items() if name.upper().startswith(PREFIX)}
    environment = _environment(ours)
    named = {_path_of(name): name for name in ours}
    expected = KNOWN_VARIABLES | _credential_variables(_overlay(file, environment))
    unknown = {name: ours[name] for path, name in named.items() if path[0] not in Settings.model_fields}
    strange = {name: value for name, value in unknown.items() if name not in expected}
    return Layers(file, environment, named, tuple(say.of_unknown_variables(strange)))


def _path_of(variable: str) -> Path_:
    path = variable.lower().removeprefix(PREFIX.lower()).split("__")
    if path[:2] == ["kafka", "extra"]:
        path[2:] = [name.replace("_", ".") for name in path[2:]]
    return tuple(path)


def _environment(variables: Mapping[str, str]) -> Tree:
    source = EnvSettingsSource(Settings, env_parse_none_str="null")
    # pydantic-settings reads the process's environment by itself; ours is an argument.
    source.env_vars = parse_env_vars(variables, ignore_empty=True, parse_none_str="null")
    try:
        return source()
    except SettingsError as unreadable:
        # Everything else would be judged without the environment, so this is said alone.
        section = str(unreadable).split('"')[1]
        raise ConfigError(
            f"{section}: its value in the environment is not JSON; write lists and mappings as JSON"
        ) from None


def _credential_variables(tree: Tree) -> set[str]:
    """Variables that accounts name as the place of their credentials; they may carry our prefix."""
    accounts = tree.get("accounts")
    if not isinstance(accounts, list | tuple):
        return set()
    entries = [account for account in accounts if isinstance(account, dict)]
    return {str(account[key]) for account in entries for key in ("key_id_env", "api_key_env") if key in account}


def _overlay(below: Tree, above: Tree) -> Tree:
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        merged[name] = _overlay(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged
