"""Which addresses that DNS names are siblings of a registrar."""

from __future__ import annotations

from typing import Any

import pytest

from whence.core.identification.address import Origin
from whence.core.identification.dns_siblings import LIMIT, Reach, reach, siblings
from whence.core.sip.transport_address import IP, Transport, TransportAddress, canonical_ip

NOW = 1_000_000.0
WORLD = "udp:8.8.8.8:5060"


def hops(*ips: str, transport: str = "udp", port: int = 5060) -> list[TransportAddress]:
    return [TransportAddress(Transport(transport), canonical_ip(ip), port) for ip in ips]


def of(registrar: str, found: list[TransportAddress], *own: str, exact: bool = False) -> Any:
    ours: list[IP] = [canonical_ip(ip) for ip in own]
    source = TransportAddress.parse(registrar)
    return siblings(found, source, ours, exact=exact, now=NOW, expires_at=NOW + 300)


def ips(registrar: str, found: list[TransportAddress], *own: str, exact: bool = False) -> list[str]:
    return [str(address.ip) for address in of(registrar, found, *own, exact=exact)]


def test_siblings_are_the_other_addresses_for_any_port() -> None:
    (sibling,) = of(WORLD, hops("8.8.8.8", "8.8.4.4"))
    assert (str(sibling.ip), sibling.port, sibling.exact) == ("8.8.4.4", None, False)
    assert (sibling.origin, sibling.learned_at) == (Origin.RESOLVED, NOW)
    assert sibling.expires_at == NOW + 300


@pytest.mark.parametrize("transport", list(Transport))
def test_sibling_has_the_transport_of_the_registrar(
    transport: Transport,
) -> None:
    """The transport in DNS does not matter."""
    for named in ("udp", "tcp", "tls"):
        (sibling,) = of(f"{transport}:8.8.8.8:5060", hops("8.8.4.4", transport=named))
        assert sibling.transport is transport


def test_sibling_of_an_exact_trunk_has_its_port_in_dns() -> None:
    found = [*hops("8.8.4.4", port=5070), *hops("1.1.1.1", port=5071, transport="tcp")]
    (sibling,) = of(WORLD, found, exact=True)
    assert (str(sibling.ip), sibling.port, sibling.exact) == ("8.8.4.4", 5070, True)


BAD = ["127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.1.1", "100.64.0.1"]
BAD += ["224.0.0.1", "0.0.0.0", "255.255.255.255", "240.0.0.1", "::1", "fe80::1", "fd00::1"]
BAD += ["ff02::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1"]


@pytest.mark.parametrize("ip", BAD)
def test_siblings_of_an_internet_registrar_are_not_private(ip: str) -> None:
    assert ips(WORLD, hops(ip)) == []
    assert ips("udp:[2a00::1]:5060", hops(ip)) == []


def test_siblings_of_a_private_registrar_are_private() -> None:
    found = hops("10.0.0.2", "192.168.0.2", "127.0.0.2", "8.8.8.8", "fd00::2", "100.64.0.2")
    assert ips("udp:10.0.0.1:5060", found) == ["10.0.0.2", "192.168.0.2", "fd00::2"]
    assert ips("udp:127.0.0.1:5060", found) == ["127.0.0.2"]
    assert ips("udp:100.64.0.1:5060", found) == ["100.64.0.2"]


def test_siblings_exclude_our_own_addresses() -> None:
    assert ips(WORLD, hops("8.8.4.4", "1.1.1.1"), "8.8.4.4") == ["1.1.1.1"]


def test_siblings_of_mapped_ipv4_equal_the_ipv4_addresses() -> None:
    assert ips(WORLD, hops("::ffff:8.8.8.8", "::ffff:8.8.4.4", "8.8.4.4")) == ["8.8.4.4"]


def test_siblings_are_few_and_the_same_in_any_order() -> None:
    found = hops(*(f"11.0.{i >> 8}.{i & 255}" for i in range(5000)))
    taken = ips(WORLD, found)
    assert len(taken) == LIMIT
    assert ips(WORLD, found[::-1]) == taken


def test_reach_of_multicast_and_unspecified_is_none() -> None:
    for ip in ("224.0.0.1", "0.0.0.0", "255.255.255.255", "ff02::1", "::"):
        assert reach(canonical_ip(ip)) is None
        assert ips(f"udp:{'[ff02::2]' if ':' in ip else '224.0.0.2'}:5060", hops(ip)) == []
    assert reach(canonical_ip("8.8.8.8")) is Reach.WORLD
