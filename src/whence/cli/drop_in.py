"""`whence drop-in`: Whence for an existing Kamailio that registers with its module uac."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def drop_in(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where the include file and its directory go.")
    ],
    user: Annotated[
        str | None,
        typer.Option(help="As whom Kamailio runs.", show_default="kamailio, for root"),
    ] = None,
) -> None:
    """Write an include file that brings Whence into an existing kamailio.cfg."""
    from whence.agent.drop_in import INCLUDE_FILE, Theirs, kamailios_user, prepare

    prepare(folder, Theirs(), kamailios_user(user))
    typer.echo(f'include_file "{folder.absolute() / INCLUDE_FILE}"')
