"""`whence agent`: the agent alone, beside a Kamailio that something else runs.

The agent is imported when it runs: whoever only asks its API need not wait for that.
"""

from __future__ import annotations

from whence.cli.log import to_stderr
from whence.cli.options import FileOption


def agent(config: FileOption) -> None:
    """Run the agent alone, beside a Kamailio started on `whence edge-config`."""
    from whence.agent import main

    to_stderr("agent")
    main.run(config)
