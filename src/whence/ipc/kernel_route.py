"""The kernel's choice of a source address, which edge and agent use for the same decision."""

from __future__ import annotations

import socket

from whence.core.sip.transport_address import IP, canonical_ip

_DISCARD_PORT = 9


def source_ip(to: IP) -> IP | None:
    """Return the address from which the kernel sends to `to`; None if it has no route.

    Nothing is sent: a UDP socket that connects only looks up the route.
    """
    family = socket.AF_INET if to.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(to), _DISCARD_PORT))
            return canonical_ip(probe.getsockname()[0].partition("%")[0])
        except OSError:
            return None
