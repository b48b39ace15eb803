"""Options that several commands share, so that they read the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

BootstrapOption = Annotated[
    str | None, typer.Option(help="Kafka's address, instead of the one in the settings.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")]
OnlyJsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="CALLSTREAM_CONFIG",
        metavar="FILE",
        help="YAML file with the settings; CALLSTREAM_… variables win over it.",
    ),
]
