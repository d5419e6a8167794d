"""The shim between Kamailio and the edge: the only file that imports KSR.

Kamailio loads it with the system's Python; the package `whence` is found from where this file is.
"""

import sys
from pathlib import Path

import KSR

sys.path.append(str(Path(__file__).absolute().parents[2]))

from whence.edge.route import Edge, Settings


def mod_init() -> Edge:
    """Make the handlers; Kamailio calls this once, before it forks."""
    return Edge(KSR, Settings.parse(KSR.kx.get_def("WHENCE_EDGE") or ""))
