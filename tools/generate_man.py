"""Write the man page and the completion scripts from the commands: `make generate`.

`packaging/man/whence.1` has each command with its options. `packaging/completion` has the scripts
of `whence --show-completion`, for packages.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from whence.cli.main import commands

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "packaging" / "man" / "whence.1"
COMPLETION = ROOT / "packaging" / "completion"
SCRIPTS = {"bash": "whence.bash", "zsh": "_whence", "fish": "whence.fish"}
"""Shell → the name that packages give its script."""

_HIDDEN = frozenset({"--help", "--install-completion", "--show-completion"})

_END = r"""
.SH EXIT STATUS
.TP
0
The command succeeded.
.TP
1
It failed, and the message says what to do.
.TP
2
The settings file or the command line is wrong.
.SH ENVIRONMENT
.TP
WHENCE_API
The URL of the agent's API, for commands without \-\-api and \-c.
.SH SEE ALSO
.BR kamailio (8)
"""


def main() -> None:
    """Write the page and the scripts."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    COMPLETION.mkdir(exist_ok=True)
    for shell, name in SCRIPTS.items():
        (COMPLETION / name).write_text(script(shell), encoding="utf-8")


def page() -> str:
    """Return the man page."""
    return "\n".join(_lines()) + _END


def _lines() -> Iterator[str]:
    group: Any = typer.main.get_command(commands())
    summary = _plain(group.help).rstrip(".")
    yield r".\" `make generate` writes this page from src/whence/cli."
    yield '.TH WHENCE 1 "" "Whence" "User Commands"'
    yield ".SH NAME"
    yield f"whence \\- {_escaped(summary[0].lower() + summary[1:])}"
    yield ".SH SYNOPSIS"
    yield r".B whence"
    yield r"[\-\-version] COMMAND [OPTION ...]"
    yield ".SH DESCRIPTION"
    yield _escaped(_plain(group.help))
    yield r"Each command has \-\-help, with an example."
    panel = ""
    for name, command in group.commands.items():
        if command.rich_help_panel != panel:
            panel = command.rich_help_panel
            yield f".SH {panel.upper()}"
        yield from _command(name, command)


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    words = [name, *(one.metavar or one.name.upper() for one in arguments), "[OPTION ...]"]
    yield f'.SS "whence {_escaped(" ".join(words))}"'
    for at, paragraph in enumerate(re.split(r"\n\s*\n", command.help or "")):
        if at:
            yield ".PP"
        yield _escaped(_plain(paragraph))
    for one in arguments:
        yield from _entry(one.metavar or one.name.upper(), one.help)
    for one in options:
        if not _HIDDEN.intersection(one.opts):
            metavar = "" if one.is_flag else f" {one.metavar or one.name.upper()}"
            help_ = f"{one.help} Required." if one.required else one.help
            yield from _entry(", ".join(sorted(one.opts, key=len)) + metavar, help_)
    yield ".PP"
    yield _escaped(_plain(command.epilog or ""))


def _entry(head: str, text: str | None) -> Iterator[str]:
    yield ".TP"
    yield f".B {_escaped(head)}"
    yield _escaped(_plain(text or ""))


def _plain(text: str) -> str:
    return " ".join(text.replace("`", "").split())


def _escaped(text: str) -> str:
    r"""Escape a line for roff: backslashes, dashes that must be copied, control lines."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("…", "...")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def script(shell: str) -> str:
    """Return the completion script of a shell, as the command itself writes it."""
    done = subprocess.run(
        [Path(sys.executable).parent / "whence"],
        env={**os.environ, "_WHENCE_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() + "\n"


if __name__ == "__main__":
    main()
