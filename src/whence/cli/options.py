"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    typer.Option("--api", metavar="URL", envvar="WHENCE_API", help="The URL of the agent's API."),
]
ApiFileOption = Annotated[
    Path | None,
    typer.Option(
        "-c",
        "--config",
        metavar="FILE",
        help="Instead of --api: the settings file, whose api_listen is the API.",
        readable=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON with stable names, for programs.")
]
WideOption = Annotated[
    bool, typer.Option("--wide", help="Print one line for each row, however long.")
]
WatchOption = Annotated[
    bool, typer.Option("--watch", help="Show it again and again, until Ctrl-C.")
]
EveryOption = Annotated[
    int,
    typer.Option("--every", metavar="SECONDS", help="With --watch: how often.", min=1, max=3600),
]

DEFAULT_API = "http://127.0.0.1:8088"
EVERY_S = 2
