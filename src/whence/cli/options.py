"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FileOption = Annotated[
    Path,
    # That it cannot be read is for us to say: as any other fault of it.
    typer.Option("-c", "--config", metavar="FILE", help="the file whence.toml", readable=False),
]
ApiOption = Annotated[
    str, typer.Option("--api", metavar="URL", envvar="WHENCE_API", help="the agent's API")
]
JsonOption = Annotated[bool, typer.Option("--json", help="as JSON, with stable names")]

DEFAULT_API = "http://127.0.0.1:8088"
