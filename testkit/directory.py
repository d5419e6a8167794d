"""Write the trunks and users of a settings file into a directory, without an agent."""

import time
from collections.abc import Collection

from whence.agent.config.models import Config
from whence.agent.config.to_core import node_settings
from whence.agent.provisioning.apply import write
from whence.store.directory import Directory


def install(
    directory: Directory, config: Config, now: float | None = None, replaced: Collection[str] = ()
) -> frozenset[str]:
    """Replace the directory's trunks and users with those of `config`.

    See `whence.agent.provisioning.apply.write` for *replaced* and the result.
    """
    at = time.time() if now is None else now
    return write(directory, node_settings(config), at, replaced)
