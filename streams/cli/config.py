"""``callstream config``: what the settings are, where each comes from, and whether they can be used."""

import sys
from typing import Annotated, Literal

import orjson
import typer

from streams.accounts import AccountBook
from streams.cli.options import ConfigOption
from streams.settings import ConfigError, Settings
from streams.settings.docs import as_json, as_yaml, effective, reference
from streams.settings.load import read_layers, settings_of
from streams.settings.tree import file_schema
from streams.settings.warn import warnings

config_app = typer.Typer(no_args_is_help=True, add_completion=False)


@config_app.callback()
def _config() -> None:
    """Show and check the settings, print their schema."""


@config_app.command()
def show(
    config: ConfigOption = None,
    as_one_json: Annotated[bool, typer.Option("--json", help="JSON, with the sources in a second object.")] = False,
) -> None:
    """Print the effective settings and where each comes from. Secrets are masked."""
    layers = read_layers(config)
    values = effective(settings_of(layers))
    print(as_json(values, layers) if as_one_json else as_yaml(values, layers), end="\n" if as_one_json else "")


@config_app.command()
def check(config: ConfigOption = None) -> None:
    """Check the settings, and that credentials can be read and Kafka's client takes its properties. Needs no Kafka.

    Lists all problems; exit code 2 if there are any.
    """
    settings = settings_of(read_layers(config))
    problems = AccountBook(settings).check()
    for warning in warnings(settings):
        print(f"warning: {warning}", file=sys.stderr)
    if problems:
        raise ConfigError(*problems)
    _check_kafka(settings)
    count = len(settings.accounts)
    print(f"ok: {count} account{'s' if count > 1 else ''}, Kafka at {settings.kafka.bootstrap_servers}")


def _check_kafka(settings: Settings) -> None:
    # Imported here: only this command of the group needs Kafka's library.
    from streams.app_options import kafka_options
    from streams.kafka.client_check import check_properties

    check_properties(kafka_options(settings))


@config_app.command()
def schema() -> None:
    """Print the JSON Schema of the YAML file, for editors and CI."""
    print(orjson.dumps(file_schema(), option=orjson.OPT_INDENT_2).decode())


@config_app.command()
def docs(
    page: Annotated[
        Literal["settings", "metrics"],
        typer.Argument(metavar="PAGE", help="Which page of docs/ to print: settings or metrics."),
    ] = "settings",
) -> None:
    """Print the reference of all settings, or of all metrics, as Markdown."""
    if page == "metrics":
        from streams.telemetry.docs import reference as of_metrics

        print(of_metrics(), end="")
    else:
        print(reference(), end="")
