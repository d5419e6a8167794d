"""Connects Kamailio and the edge. It is the only file that imports KSR.

Kamailio loads it with the system's Python. It finds the package `whence` relative to itself.
"""

import sys
from pathlib import Path

import KSR

sys.path.append(str(Path(__file__).absolute().parents[2]))

from whence.edge.dropin.handlers import DropInHandlers
from whence.edge.dropin.settings import DropInSettings
from whence.edge.handlers import EdgeHandlers
from whence.edge.settings import EdgeSettings


def mod_init() -> EdgeHandlers | DropInHandlers:
    """Return the handlers. Kamailio calls this once, before it forks."""
    for_drop_in = KSR.kx.get_def("WHENCE_DROP_IN")
    if for_drop_in:
        return DropInHandlers(KSR, DropInSettings.parse(for_drop_in))
    return EdgeHandlers(KSR, EdgeSettings.parse(KSR.kx.get_def("WHENCE_EDGE") or ""))
