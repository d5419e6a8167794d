"""`whence run` and `whence agent`."""

from __future__ import annotations

from typing import Annotated

import typer

from whence.cli.options import FileOption
from whence.cli.service import start


def run(config: FileOption) -> None:
    """Start Kamailio and the agent, and keep both running until SIGINT or SIGTERM.

    SIGHUP reads the file again.
    """
    start.run(str(config))


def agent(
    config: FileOption,
    track_only: Annotated[
        bool,
        typer.Option(
            "--track-only",
            help="Register nothing, beside a drop-in. FILE is its drop-in.toml.",
        ),
    ] = False,
) -> None:
    """Run the agent alone, beside a Kamailio that another program runs.

    That Kamailio has the configuration of `whence edge-config`, or a drop-in.
    """
    start.agent(str(config), track_only=track_only)
