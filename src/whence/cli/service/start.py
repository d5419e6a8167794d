"""Start `whence run` and `whence agent`, without the library of the command line.

That library takes longer to import than the rest of a start, and stays in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from whence.cli.service.log import to_stderr


def read_arguments(arguments: Sequence[str]) -> Callable[[], None] | None:
    """Return what starts the service that these arguments order.

    Returns None for other forms: `commands.py` accepts them, explains faults, and has the help.
    """
    name, *rest = arguments or [""]
    track_only = name == "agent" and "--track-only" in rest
    if track_only:
        rest.remove("--track-only")
    match rest:
        case ["-c" | "--config", file] if file and not file.startswith("-"):
            path = Path(file)
        case [option] if option.startswith("--config=") and option != "--config=":
            path = Path(option.removeprefix("--config="))
        case _:
            return None
    if name == "agent":
        return partial(agent, path, track_only=track_only)
    return partial(run, path) if name == "run" else None


def run(file: Path) -> None:
    """Run Kamailio and the agent until SIGINT or SIGTERM.

    Raises: ConfigError, OperatorError.
    """
    from whence.cli.service import preflight
    from whence.cli.service.supervisor import supervise

    to_stderr("run")
    with preflight.ready(file) as settings:
        supervise(file, settings)


def agent(file: Path, *, track_only: bool) -> None:
    """Run the agent alone until SIGINT or SIGTERM. `track_only`: beside a drop-in.

    Raises: ConfigError, OperatorError.
    """
    to_stderr("agent")
    if track_only:
        from whence.agent.dropin import main as track_only_agent

        track_only_agent.run(file)
    else:
        from whence.agent import main

        main.run(file)
