"""The shim between Kamailio and the edge: the only file that imports KSR.

Kamailio loads it with the system's Python; the package `whence` is found from where this file is.
"""

import sys
from pathlib import Path

import KSR

sys.path.append(str(Path(__file__).absolute().parents[2]))

from whence.edge import inbound
from whence.edge.base import Handlers
from whence.edge.dropin import handlers


def mod_init() -> Handlers:
    """Make the handlers; Kamailio calls this once, before it forks."""
    for_drop_in = KSR.kx.get_def("WHENCE_DROP_IN")
    if for_drop_in:
        return handlers.DropInHandlers(KSR, handlers.DropInSettings.parse(for_drop_in))
    return inbound.EdgeHandlers(
        KSR, inbound.EdgeSettings.parse(KSR.kx.get_def("WHENCE_EDGE") or "")
    )
