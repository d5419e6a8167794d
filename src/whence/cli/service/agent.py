"""`whence agent`: the agent alone, beside a Kamailio that another program runs."""

from __future__ import annotations

from typing import Annotated

import typer

from whence.cli.options import FileOption
from whence.cli.service.log import to_stderr


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
    to_stderr("agent")
    if track_only:
        from whence.agent.dropin import main as track_only_agent

        track_only_agent.run(config)
    else:
        from whence.agent import main

        main.run(config)
