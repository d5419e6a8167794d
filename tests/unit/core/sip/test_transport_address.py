"""Transport addresses, and the properties of each transport."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from whence.core.dialogs.targets import place
from whence.core.sip.transport_address import (
    SERVER_TRANSPORTS,
    TRANSPORTS,
    Transport,
    TransportAddress,
    canonical_ip,
)
from whence.core.sip.uri import Uri

EACH = pytest.mark.parametrize("transport", Transport)


@EACH
@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]"])
def test_transport_address_is_read_and_written(transport: Transport, host: str) -> None:
    text = f"{transport}:{host}:5070"
    address = TransportAddress.parse(text)
    assert address == TransportAddress(transport, canonical_ip(host), 5070)
    assert str(address) == text
    assert TransportAddress.parse(text.upper()) == address


@EACH
def test_transport_has_a_strength_and_a_port(transport: Transport) -> None:
    assert transport.strength in range(-1, 3)
    assert transport.default_port in (5060, 5061, 80, 443)
    assert TRANSPORTS[transport.value] is transport


def test_transport_of_a_server_is_never_websocket() -> None:
    assert {Transport.parse(name.upper()) for name in SERVER_TRANSPORTS} == {
        t for t in Transport if t.strength >= 0
    }
    for name in ("ws", "wss"):
        assert TRANSPORTS[name].strength < Transport.UDP.strength
        with pytest.raises(ValueError, match=r"write udp or tcp or tls$"):
            Transport.parse(name)


def test_default_port_is_5061_for_tls_strength_only() -> None:
    secure = {transport for transport in Transport if transport.default_port == 5061}
    assert secure == {t for t in Transport if t.strength >= Transport.TLS.strength}
    assert Transport.UDP not in secure and Transport.TCP not in secure


@EACH
def test_place_of_a_uri_has_each_transport(transport: Transport) -> None:
    uri = Uri.parse(f"sip:192.0.2.1;transport={transport.upper()}")
    assert uri and place(uri) == f"{transport}:192.0.2.1:{transport.default_port}"


def test_transport_address_of_mapped_ipv4_is_ipv4() -> None:
    ipv4 = TransportAddress.parse("udp:192.0.2.1:5060")
    mapped = TransportAddress(Transport.UDP, IPv6Address("::ffff:192.0.2.1"), 5060)
    assert mapped == ipv4 and hash(mapped) == hash(ipv4)
    assert (mapped.ip.version, str(mapped)) == (4, "udp:192.0.2.1:5060")
    assert TransportAddress.parse("udp:[::ffff:192.0.2.1]:5060") == ipv4


@pytest.mark.parametrize("text", ["sctp", "", "udp ", "\x1b[2J", "ß"])
def test_transport_unknown_raises_with_the_valid_ones(text: str) -> None:
    with pytest.raises(ValueError, match="is not known; write udp or tcp or tls") as refused:
        Transport.parse(text)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "sctp:192.0.2.1:5060",
        "udp:192.0.2.256:5060",
        "udp:[192.0.2.1]:5060x",
        "udp:[fe80::1%eth0]:5060",
        "udp:name.example:5060",
        "udp:192.0.2.1:0",
        "udp:192.0.2.1:65536",
        "192.0.2.1:5060",
        "",
    ],
)
def test_transport_address_invalid_raises_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="write transport:ip:port"):
        TransportAddress.parse(text)
