"""Options that several commands share, so that they read the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

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
