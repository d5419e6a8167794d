"""`whence agent`: the agent alone, beside a Kamailio that something else runs."""

from __future__ import annotations

from whence.agent import main
from whence.cli.log import to_stderr
from whence.cli.options import FileOption


def agent(config: FileOption) -> None:
    """Run the agent alone, beside a Kamailio started on `whence edge-config`."""
    to_stderr("agent")
    main.run(config)
