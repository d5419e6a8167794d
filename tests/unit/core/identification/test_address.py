"""Which sources an address admits."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.identification.address import Address, Origin
from whence.core.sip.transport_address import (
    IP,
    Transport,
    TransportAddress,
    bits_of,
    canonical_ip,
    canonical_network,
)

NOW = 1_000_000.0


def learned(
    ip: str = "192.0.2.1",
    transport: Transport = Transport.UDP,
    expires_at: float | None = NOW + 60,
    port: int = 5060,
) -> Address:
    return Address(
        canonical_ip(ip),
        port,
        transport,
        Origin.LEARNED,
        "udp:198.51.100.1:5060",
        NOW - 60,
        expires_at,
    )


def admits(address: Address, source: str, now: float = NOW) -> bool:
    return address.admits(TransportAddress.parse(source), now)


def test_address_admits_its_own_ip_and_no_other() -> None:
    assert admits(learned(), "udp:192.0.2.1:5060")
    assert not admits(learned(), "udp:192.0.2.2:5060")


def test_address_compares_ips_as_values() -> None:
    assert not admits(learned("192.0.2.1"), "udp:192.0.2.10:5060")
    assert not admits(learned("192.0.2.10"), "udp:192.0.2.1:5060")
    assert admits(learned("2001:db8::1"), "udp:[2001:0DB8:0:0::1]:5060")


def test_address_of_mapped_ipv4_equals_the_ipv4_address() -> None:
    assert admits(learned("192.0.2.1"), "udp:[::ffff:192.0.2.1]:5060")
    assert admits(learned("::ffff:192.0.2.1"), "udp:192.0.2.1:5060")
    assert canonical_ip("::ffff:192.0.2.1") == canonical_ip("192.0.2.1")


def test_address_that_is_not_exact_admits_any_port() -> None:
    assert admits(learned(port=5060), "udp:192.0.2.1:1")
    assert admits(learned(port=5060), "udp:192.0.2.1:65535")


def network(text: str, port: int | None = None) -> Address:
    place, now = canonical_network(text), NOW - 60
    return Address(place, port, Transport.UDP, Origin.PINNED, "", now, None, exact=port is not None)


def test_network_admits_its_own_ips_only() -> None:
    assert admits(network("192.0.2.8/29"), "udp:192.0.2.8:5060")
    assert admits(network("192.0.2.8/29"), "udp:192.0.2.15:5060")
    assert not admits(network("192.0.2.8/29"), "udp:192.0.2.16:5060")
    assert not admits(network("192.0.2.8/29"), "udp:192.0.2.7:5060")
    assert admits(network("2001:db8::/33"), "udp:[2001:db8:7fff::1]:5060")
    assert not admits(network("2001:db8::/33"), "udp:[2001:db8:8000::1]:5060")
    assert not admits(network("192.0.2.0/24"), "udp:[2001:db8::1]:5060")


def test_network_of_mapped_ipv4_equals_the_ipv4_network() -> None:
    assert str(canonical_network("::ffff:192.0.2.0/120")) == "192.0.2.0/24"
    assert admits(network("::ffff:192.0.2.0/120"), "udp:192.0.2.9:5060")
    assert admits(network("192.0.2.0/24"), "udp:[::ffff:192.0.2.9]:5060")


def test_network_of_one_ip_equals_the_ip() -> None:
    assert canonical_network("192.0.2.1/32") == canonical_ip("192.0.2.1")
    assert canonical_network("2001:db8::1/128") == canonical_ip("2001:db8::1")
    assert canonical_network("::ffff:192.0.2.1/128") == canonical_ip("192.0.2.1")


@given(st.ip_addresses(), st.integers(0, 128))
def test_bits_of_a_network_begin_those_of_its_addresses(ip: IP, length: int) -> None:
    length = min(length, ip.max_prefixlen)
    place = ip_network((ip, length), strict=False)
    for one in (ip, place[0], place[-1]):
        assert bits_of(one).startswith(bits_of(place))
    for beside in (int(place[0]) - 1, int(place[-1]) + 1):
        if 0 <= beside < 2**ip.max_prefixlen:
            assert not bits_of(type(ip)(beside)).startswith(bits_of(place))


def test_address_with_exact_port_admits_only_that_port() -> None:
    assert admits(network("192.0.2.0/24", port=5060), "udp:192.0.2.1:5060")
    assert not admits(network("192.0.2.0/24", port=5060), "udp:192.0.2.1:5061")


def test_address_admits_until_it_expires() -> None:
    address = learned(expires_at=NOW + 60)
    assert admits(address, "udp:192.0.2.1:5060", NOW + 59.999)
    assert not admits(address, "udp:192.0.2.1:5060", NOW + 60)
    assert not admits(address, "udp:192.0.2.1:5060", NOW + 3600)


def test_address_without_expiry_admits_always() -> None:
    assert admits(learned(expires_at=None), "udp:192.0.2.1:5060", NOW + 1e9)


@pytest.mark.parametrize(
    ("learned_over", "admitted"),
    [
        (Transport.UDP, {"udp", "tcp", "tls"}),
        (Transport.TCP, {"tcp", "tls"}),
        (Transport.TLS, {"tls"}),
    ],
)
def test_address_admits_its_transport_and_stronger_ones(
    learned_over: Transport, admitted: set[str]
) -> None:
    address = learned(transport=learned_over)
    assert {t for t in ("udp", "tcp", "tls") if admits(address, f"{t}:192.0.2.1:5060")} == admitted


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("udp:192.0.2.1:5060", "udp:192.0.2.1:5060"),
        (" UDP:192.0.2.1:5060 ", "udp:192.0.2.1:5060"),
        ("tls:[2001:db8::1]:5061", "tls:[2001:db8::1]:5061"),
        ("tcp:[::ffff:192.0.2.1]:5060", "tcp:192.0.2.1:5060"),
        ("udp:192.0.2.1:65535", "udp:192.0.2.1:65535"),
    ],
)
def test_transport_address_reads_what_it_writes(written: str, read: str) -> None:
    assert str(TransportAddress.parse(written)) == read
    assert TransportAddress.parse(read) == TransportAddress.parse(written)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "udp",
        "192.0.2.1:5060",
        "udp:192.0.2.1",
        "udp:192.0.2.1:",
        "udp:192.0.2.1:0",
        "udp:192.0.2.1:65536",
        "udp:192.0.2.1:-1",
        "udp:192.0.2.256:5060",
        "udp:192.0.2:5060",
        "sctp:192.0.2.1:5060",
        "udp:2001:db8::1:5060",
        "udp:[2001:db8::1:5060",
        "udp:sip.example:5060",
        "udp:192.0.2.1:5060;x",
        "udp:192.0.2.1:５０６０",
        "udp:192.0.2.1:5060\nudp:192.0.2.2:5060",
    ],
)
def test_transport_address_of_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match='is not a source; write transport:ip:port, "udp:203'):
        TransportAddress.parse(text)
