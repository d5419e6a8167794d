"""Each transport that the core knows is one that the edge can read in a message."""

from __future__ import annotations

import pytest

from whence.core.sip.message import Message
from whence.core.sip.transport_address import Transport
from whence.edge.dialogs import _second_via
from whence.edge.guard import PROTOCOLS


def test_kamailio_has_a_number_for_each_transport() -> None:
    assert set(PROTOCOLS.values()) == set(Transport)
    assert (PROTOCOLS["1"], PROTOCOLS["3"]) == (Transport.UDP, Transport.TLS)


@pytest.mark.parametrize("transport", Transport)
def test_a_via_over_each_transport_is_read(transport: Transport) -> None:
    reply = (
        "SIP/2.0 200 OK\r\n"
        "Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKours;i=a1\r\n"
        f"Via: SIP/2.0/{transport.upper()} 192.0.2.1;branch=z9hG4bKtheirs\r\n"
        "\r\n"
    )
    connection = "" if transport is Transport.UDP else f"#{0x1A}"
    port = transport.default_port
    assert _second_via(Message(reply.encode())) == f"{transport}:192.0.2.1:{port}{connection}"
