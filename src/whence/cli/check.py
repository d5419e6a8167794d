"""`whence check`: name all faults of a settings file."""

from __future__ import annotations

import time

from whence.cli import output
from whence.cli.options import FileOption
from whence.errors import OperatorError


def check(config: FileOption) -> None:
    """Check a settings file: name all its faults at once, and exit with 2 if there is one.

    Warnings are no faults. One names trunks that no rule can distinguish: the edge refuses some
    of their calls. Others name a target that no socket of the edge can reach. Others name a route
    that decides nothing, because another one holds before. Others name an expired certificate, a
    password of an example, a repeated account, or an address of another machine.
    """
    from whence.agent.config.doubts import config_doubts
    from whence.agent.config.load import load, targets_without_socket
    from whence.agent.config.outbound_doubts import outbound_doubts
    from whence.agent.config.to_core import node_settings
    from whence.agent.provisioning import conflicts
    from whence.agent.runtime.state_directory import state_doubt
    from whence.trust.paths import owner_too
    from whence.trust.settings import load_trusted

    users = owner_too(config)
    settings, doubts = load_trusted(config, load, users)
    try:
        doubts.append(state_doubt(settings.state, users))
    except OperatorError as problem:
        doubts.append(str(problem))
    for note in settings.expired_pins(time.time()):
        print(f"{config.name}: {note}")
    counts = (
        output.counted(len(settings.trunk), "trunk"),
        output.counted(len(settings.user), "user"),
    )
    print(f"{config}: OK: {', '.join(counts)}")
    if not settings.model_fields_set:
        print(f"{config}: warning: it is empty")
    doubts += config_doubts(settings, time.time())
    doubts += [*targets_without_socket(settings), *outbound_doubts(settings)]
    for doubt in filter(None, doubts):
        print(f"{config}: warning: {doubt}")
    for conflict in conflicts.among(node_settings(settings).trunks):
        print(f"{config}: warning: {conflict}")
