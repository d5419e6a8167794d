"""`whence agent`: the agent alone, beside a Kamailio that something else runs.

The agent is imported when it runs: whoever only asks its API need not wait for that.
"""

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
            "--track-only", help="register nothing: FILE is the drop-in.toml of a drop-in"
        ),
    ] = False,
) -> None:
    """Run the agent alone, beside a Kamailio started on `whence edge-config`, or with a drop-in."""
    to_stderr("agent")
    if track_only:
        from whence.agent.dropin import main as track

        track.run(config)
    else:
        from whence.agent import main

        main.run(config)
