"""`whence --version`."""

from __future__ import annotations

from typing import Annotated

import typer

from whence.version import version


def _print(wanted: bool) -> None:
    if wanted:
        print(f"whence {version()}")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option("--version", help="Show the version and exit.", callback=_print, is_eager=True),
]


def root(wanted: VersionOption = False) -> None:
    """Read the options of `whence` itself."""
