"""A transport, an ip and a port: where SIP comes from and goes to.

Ips are compared as values, never as text: `::ffff:192.0.2.1` is `192.0.2.1`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)

IP = IPv4Address | IPv6Address


Network = IPv4Network | IPv6Network


NETWORKS = IPv4Network, IPv6Network


class Transport(StrEnum):
    """How SIP travels."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"

    __hash__ = str.__hash__  # that of an Enum is Python, and each look into a dict pays for it

    @classmethod
    def parse(cls, text: str) -> Transport:
        """Read a transport, in small or capital letters. A ValueError names those that are known.

        Others may have written the text: the ValueError shows no control character of it.
        """
        transport = TRANSPORTS.get(text.lower())
        if transport is None:
            raise ValueError(f"transport {text[:32]!a} is not known; write {' or '.join(cls)}")
        return transport

    @property
    def strength(self) -> int:
        """How strong the evidence is that a message really comes from its source."""
        return _STRENGTH[self]

    @property
    def default_port(self) -> int:
        """The port of a URI or a Via that names none (RFC 3261 18.2.2, 19.1.2)."""
        return 5061 if self.strength >= Transport.TLS.strength else 5060


_STRENGTH = {Transport.UDP: 0, Transport.TCP: 1, Transport.TLS: 2}
"""A UDP source is easily forged. A TCP one needs an answer, a TLS one a certificate."""


TRANSPORTS = {transport.value: transport for transport in Transport}
"""Each transport by its name in small letters."""


@lru_cache(maxsize=4096)
def canonical_ip(text: str) -> IP:
    """Read an IP address; an IPv4 one written as IPv6 is IPv4.

    Raises ValueError if it is none.
    """
    text = text.removeprefix("[").removesuffix("]")
    if ":" not in text:
        return IPv4Address(text)
    ip = IPv6Address(text)
    return ip.ipv4_mapped or ip


@lru_cache(maxsize=4096)
def canonical_network(text: str) -> IP | Network:
    """Read an IP address, or a network in CIDR form; one of a single address is that address.

    A network of IPv4 addresses written as IPv6 is one of IPv4. Raises ValueError if it is neither.
    """
    if "/" not in text:
        return canonical_ip(text)
    network = ip_network(text)
    if isinstance(network, IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= _MAPPED_BITS:
            network = IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    one = network.prefixlen == network.max_prefixlen
    return network.network_address if one else network


_MAPPED_BITS = 96  # ::ffff:0:0/96 holds the IPv4 addresses (RFC 4291 2.5.5.2)


def bits_of(ip: IP | Network) -> str:
    """IP version, and bits: those of a network are how those of each address in it begin."""
    if isinstance(ip, IPv4Address):
        return f"4{int(ip):032b}"
    if isinstance(ip, IPv6Address):
        return f"6{int(ip):0128b}"
    return bits_of(ip.network_address)[: 1 + ip.prefixlen]


_SOURCE = re.compile(r"(\w+):(\[[0-9A-Fa-f:.]+\]|[0-9.]+):([0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class TransportAddress:
    """Where a request or reply came from, or goes to; one of our own sockets."""

    transport: Transport
    ip: IP
    port: int
    ip_text: str = field(init=False, compare=False, repr=False)
    """The ip as it is written: a request's is asked for several times."""

    def __post_init__(self) -> None:
        """Make an IPv4 address of one that is written as IPv6, and write the ip once."""
        if isinstance(self.ip, IPv6Address) and self.ip.ipv4_mapped is not None:
            object.__setattr__(self, "ip", self.ip.ipv4_mapped)
        object.__setattr__(self, "ip_text", str(self.ip))

    @classmethod
    @lru_cache(maxsize=1024)  # thousands of trunks have one registrar: one value for all of them
    def parse(cls, text: str) -> TransportAddress:
        """Read `udp:192.0.2.1:5060` or `tls:[2001:db8::1]:5061`; a ValueError tells that form."""
        match = _SOURCE.fullmatch(text.strip())
        try:
            transport, host, port = match.groups() if match else ("", "", "0")
            source = cls(TRANSPORTS[transport.lower()], canonical_ip(host), int(port))
        except (KeyError, ValueError):
            source = None
        if source is None or not 0 < source.port < 65536:
            raise ValueError(
                f'"{text}" is not a source; write transport:ip:port, "udp:203.0.113.7:5060"'
            )
        return source

    def __str__(self) -> str:
        host = f"[{self.ip_text}]" if self.ip.version == 6 else self.ip_text
        return f"{self.transport}:{host}:{self.port}"
