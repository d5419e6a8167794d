"""`whence check`: is the file right?"""

from __future__ import annotations

import time

from whence.cli.options import FileOption


def check(config: FileOption) -> None:
    """Say everything that is wrong with a file; exit 2 if anything is.

    Trunks that no rule could tell apart are no fault: some calls to them will be refused.
    """
    from whence.agent import clashes
    from whence.agent.settings import load

    settings = load(config)
    for note in settings.expired_pins(time.time()):
        print(f"{config.name}: {note}")
    print(f"{config}: right: {len(settings.trunk)} trunks, {len(settings.user)} users")
    if not settings.model_fields_set:
        print(f"{config}: warning: it is empty")
    for clash in clashes.in_file(settings):
        print(f"{config}: warning: {clash}")
