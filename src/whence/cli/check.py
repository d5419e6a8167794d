"""`whence check`: is the file right?"""

from __future__ import annotations

from whence.agent.settings import load
from whence.cli.options import FileOption


def check(config: FileOption) -> None:
    """Say everything that is wrong with a file; exit 2 if anything is."""
    settings = load(config)
    print(f"{config}: right: {len(settings.trunk)} trunks, {len(settings.user)} users")
