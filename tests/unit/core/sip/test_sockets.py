"""The socket that sends a request, and the address that others see."""

from ipaddress import ip_address

import pytest

from whence.core.sip.sockets import AUTO, Advertised, EdgeSockets
from whence.core.sip.transport_address import TransportAddress

FIRST, SECOND, STREAM, SIX = (
    TransportAddress.parse(text)
    for text in (
        "udp:192.0.2.1:5060",
        "udp:10.0.0.1:5060",
        "tcp:192.0.2.1:5060",
        "udp:[2001:db8::1]:5060",
    )
)
SOCKETS = EdgeSockets((FIRST, SECOND, STREAM, SIX))


@pytest.mark.parametrize(
    ("transport", "version", "own_ip", "socket"),
    [
        ("udp", 4, "10.0.0.1", SECOND),
        ("udp", 4, "192.0.2.1", FIRST),
        ("udp", 4, "172.16.0.1", FIRST),
        ("udp", 4, None, FIRST),
        ("udp", 6, "2001:db8::1", SIX),
        ("tcp", 4, "10.0.0.1", STREAM),
        ("tls", 4, "10.0.0.1", None),
    ],
)
def test_socket_for_is_the_one_on_the_route(
    transport: str, version: int, own_ip: str | None, socket: TransportAddress | None
) -> None:
    ip = None if own_ip is None else ip_address(own_ip)
    assert SOCKETS.socket_for(transport, version, ip) == socket


def test_has_choice_counts_addresses_of_one_kind() -> None:
    assert SOCKETS.has_choice("udp", 4)
    assert not SOCKETS.has_choice("udp", 6)
    assert not SOCKETS.has_choice("tcp", 4)
    one_address = EdgeSockets((FIRST, TransportAddress.parse("udp:192.0.2.1:5090")))
    assert not one_address.has_choice("udp", 4)


@pytest.mark.parametrize(
    ("advertised", "place", "follows"),
    [
        (Advertised("203.0.113.1"), ("203.0.113.1", 5060), False),
        (Advertised("203.0.113.1", 5070), ("203.0.113.1", 5070), False),
        (Advertised("2001:db8::7", 5070), ("192.0.2.1", 5060), False),
        (Advertised("sip.example.net", 5070), ("192.0.2.1", 5060), True),
        (Advertised(AUTO), ("192.0.2.1", 5060), True),
    ],
)
def test_place_of_is_the_address_known_from_settings(
    advertised: Advertised, place: tuple[str, int], follows: bool
) -> None:
    sockets = EdgeSockets(SOCKETS.listen, ((FIRST, advertised),))
    assert sockets.place_of(FIRST) == place
    assert sockets.follows_nat(FIRST) is follows
    assert sockets.place_of(SECOND) == ("10.0.0.1", 5060)
