"""Start `whence run` and `whence agent`, without the library of the command line.

That library takes longer to import than the rest of a start, and stays in memory.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from functools import partial

USER_VARIABLE = "WHENCE_USER"
"""The environment variable that stands for `--user`."""


def read_arguments(arguments: Sequence[str]) -> partial[None] | None:
    """Return what starts the service that these arguments order.

    Returns None for other forms: `commands.py` accepts them, explains faults, and has the help.
    """
    match arguments:
        case ["run", "--user", user, *rest] if user[:1].isalpha() and (file := _file(rest)):
            return partial(run, file, user)
        case ["run", *rest] if file := _file(rest):
            return partial(run, file, os.environ.get(USER_VARIABLE, ""))
        case ["agent", *rest, "--track-only"] | ["agent", "--track-only", *rest] if file := _file(
            rest
        ):
            return partial(agent, file, track_only=True)
        case ["agent", *rest, link] if (fd := _link_fd(link)) and (file := _file(rest)):
            return partial(first_agent, file, fd)
        case ["agent", *rest] if file := _file(rest):
            return partial(agent, file)
    return None


def _file(arguments: Sequence[str]) -> str:
    """Return the settings file of `-c FILE` or `--config=FILE`; empty for other forms."""
    match arguments:
        case ["-c" | "--config", file] if not file.startswith("-"):
            return file
        case [option] if option.startswith("--config="):
            return option.removeprefix("--config=")
    return ""


def _link_fd(option: str) -> int:
    """Return the descriptor of `--link=FD`, which only `whence run` writes; 0 for other options."""
    digits = option.removeprefix("--link=")
    return int(digits) if digits != option and digits.isdecimal() else 0


def run(file: str, user: str = "") -> None:
    """Run Kamailio and the agent until SIGINT or SIGTERM.

    `user`: as whom, if root starts it; empty: `become_user` finds one.
    Raises: ConfigError, OperatorError, SystemExit.
    """
    from whence.cli.service.run_as import become_user
    from whence.cli.service.supervisor import supervise

    become_user(file, user)
    sys.exit(supervise(file))


def agent(file: str, *, track_only: bool = False) -> None:
    """Run the agent alone until SIGINT or SIGTERM. `track_only`: beside a drop-in.

    Raises: ConfigError, OperatorError.
    """
    gc.disable()  # the agent enables it when it has started: until then, almost all objects stay
    from pathlib import Path

    from whence.cli.service.log import to_stderr

    to_stderr()
    if track_only:
        from whence.agent.dropin import main as track_only_agent

        track_only_agent.run(Path(file))
    else:
        from whence.agent import main

        main.run(Path(file))


def first_agent(file: str, link_fd: int) -> None:
    """Check that Kamailio and the agent can start, and then run the agent.

    `link_fd`: the agent's end of the link to `whence run`. Raises: ConfigError, OperatorError.
    """
    gc.disable()  # as in `agent`
    from pathlib import Path

    from whence.cli.service import preflight
    from whence.cli.service.link import RunLink
    from whence.cli.service.log import to_stderr

    to_stderr()
    link = RunLink(link_fd)
    settings = preflight.prepare(Path(file), link)
    from whence.agent import main  # Kamailio starts meanwhile

    main.run_loaded(Path(file), settings, link.up, link.reloaded)
