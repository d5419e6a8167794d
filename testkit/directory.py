"""A directory that has what a file says, without an agent."""

import time
from collections.abc import Collection

from whence.agent.config.models import Config
from whence.agent.config.to_core import node_settings
from whence.agent.provisioning.apply import write
from whence.store.directory import Directory


def install(
    directory: Directory, config: Config, now: float | None = None, replaced: Collection[str] = ()
) -> frozenset[str]:
    """Make the directory's trunks and users those of `config`; see `provisioning.apply.write`."""
    at = time.time() if now is None else now
    return write(directory, node_settings(config), at, replaced)
