"""`whence edge-config`: the kamailio.cfg, for a Kamailio that something else runs."""

from __future__ import annotations

from whence.cli.options import FileOption


def edge_config(config: FileOption) -> None:
    """Print the generated kamailio.cfg."""
    from whence.agent.edge_config import render
    from whence.agent.settings import load

    print(render(load(config), config), end="")
