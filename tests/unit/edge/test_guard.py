"""The edge knows Kamailio's number of each transport of the core."""

from __future__ import annotations

from whence.core.sip.transport_address import Transport
from whence.edge.guard import PROTOCOLS


def test_protocols_has_a_number_for_each_transport() -> None:
    assert set(PROTOCOLS.values()) == set(Transport)
    assert (PROTOCOLS["1"], PROTOCOLS["3"]) == (Transport.UDP, Transport.TLS)
