"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def _from_either_side(context: typer.Context, option: typer.CallbackParam, value: Any) -> Any:
    """Accept an option before the subcommand, too; the value after the subcommand wins."""
    name = option.name or ""
    source = context.get_parameter_source(name)
    if context.parent is None or (source is not None and source.name == "COMMANDLINE"):
        return value
    return context.parent.params.get(name, value)


FileOption = Annotated[
    Path,
    typer.Option(
        "-c",
        "--config",
        metavar="FILE",
        help="The settings file, whence.toml.",
        readable=False,  # the command itself reports an unreadable file, as any other fault
    ),
]
ApiOption = Annotated[
    str,
    typer.Option(
        "--api",
        metavar="URL",
        envvar="WHENCE_API",
        help="The URL of the agent's API.",
        callback=_from_either_side,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json", help="Print JSON with stable names, for programs.", callback=_from_either_side
    ),
]

DEFAULT_API = "http://127.0.0.1:8088"
