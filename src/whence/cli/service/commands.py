"""`whence run` and `whence agent`."""

from __future__ import annotations

from typing import Annotated

import typer

from whence.cli.options import FileOption
from whence.cli.service import start


def run(
    config: FileOption,
    user: Annotated[
        str,
        typer.Option(
            metavar="USER",
            envvar=start.USER_VARIABLE,
            help="The user that both run as, if root starts them. root: for containers.",
            show_default="owner of the state directory, or whence",
        ),
    ] = "",
) -> None:
    """Start Kamailio and the agent, and keep both running until SIGINT or SIGTERM.

    SIGHUP reads the file again.
    """
    start.run(str(config), user)


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
