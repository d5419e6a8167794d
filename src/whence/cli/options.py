"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def _wherever_written(context: typer.Context, option: typer.CallbackParam, value: Any) -> Any:
    """Let an option count that stands before the subcommand, too; the subcommand's own wins."""
    name = option.name or ""
    source = context.get_parameter_source(name)
    if context.parent is None or (source is not None and source.name == "COMMANDLINE"):
        return value
    return context.parent.params.get(name, value)


FileOption = Annotated[
    Path,
    # That it cannot be read is for us to say: as any other fault of it.
    typer.Option("-c", "--config", metavar="FILE", help="the file whence.toml", readable=False),
]
ApiOption = Annotated[
    str,
    typer.Option(
        "--api",
        metavar="URL",
        envvar="WHENCE_API",
        help="the agent's API",
        callback=_wherever_written,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="as JSON, with stable names", callback=_wherever_written),
]

DEFAULT_API = "http://127.0.0.1:8088"
