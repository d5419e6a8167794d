"""`whence run`: Kamailio and the agent together, in one terminal."""

from __future__ import annotations

from whence.cli.options import FileOption
from whence.cli.service.log import to_stderr


def run(config: FileOption) -> None:
    """Start Kamailio and the agent, and keep both running until SIGINT or SIGTERM.

    SIGHUP reads the file again.
    """
    from whence.cli.service import preflight
    from whence.cli.service.supervisor import supervise

    to_stderr("run")
    with preflight.ready(config) as settings:
        supervise(config, settings)
