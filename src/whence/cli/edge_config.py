"""`whence edge-config`: the kamailio.cfg, for a Kamailio that another program runs."""

from __future__ import annotations

import sys

from whence.cli.options import FileOption


def edge_config(config: FileOption) -> None:
    """Print the kamailio.cfg of a settings file, for a Kamailio that another program runs."""
    from whence.agent.config.load import load
    from whence.agent.kamailio.config import render
    from whence.agent.runtime.state_directory import state_doubt
    from whence.trust.paths import owner_too
    from whence.trust.settings import load_trusted

    users = owner_too(config)
    settings, doubts = load_trusted(config, load, users)
    doubts.append(state_doubt(settings.state, users))
    for doubt in filter(None, doubts):
        print(f"warning: {doubt}", file=sys.stderr)
    print(render(settings, config), end="")
