"""Addresses of SIP: a transport, an ip and a port.

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
    """A transport of SIP."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"
    WS = "ws"
    WSS = "wss"

    __hash__ = str.__hash__  # the hash of an Enum runs in Python, at each look into a dict

    @classmethod
    def parse(cls, text: str) -> Transport:
        """Read the transport of a server, in small or capital letters.

        Raises ValueError, which names the valid ones and shows no control character of `text`.
        """
        transport = SERVER_TRANSPORTS.get(text.lower())
        if transport is None:
            known = " or ".join(SERVER_TRANSPORTS)
            raise ValueError(f"transport {text[:32]!a} is not known; write {known}")
        return transport

    @property
    def strength(self) -> int:
        """Return the strength: a stronger transport is better evidence of the source.

        Below 0: no address of a trunk admits it. Only phones use WebSocket.
        """
        return _STRENGTH[self]

    @property
    def default_port(self) -> int:
        """Return the port of a URI or a Via without a port (RFC 3261 19.1.2, RFC 7118 4)."""
        return _DEFAULT_PORT.get(self, 5060)

    @property
    def is_encrypted(self) -> bool:
        """Whether it runs over TLS."""
        return self in (Transport.TLS, Transport.WSS)


_DEFAULT_PORT = {Transport.TLS: 5061, Transport.WS: 80, Transport.WSS: 443}


_STRENGTH = {
    Transport.UDP: 0,
    Transport.TCP: 1,
    Transport.TLS: 2,
    Transport.WS: -1,
    Transport.WSS: -1,
}
"""A UDP source is easily forged. TCP needs a peer that answers, TLS one with a certificate."""


WEBSOCKETS = frozenset({Transport.WS, Transport.WSS})


TRANSPORTS = {transport.value: transport for transport in Transport}
"""Each transport by its name in small letters."""


SERVER_TRANSPORTS = {
    transport.value: transport for transport in Transport if transport.strength >= 0
}
"""Those over which servers are reached. Only a client opens a WebSocket (RFC 7118 5)."""


@lru_cache(maxsize=4096)
def canonical_ip(text: str) -> IP:
    """Read an IP address; an IPv4 address written as IPv6 is IPv4.

    Raises ValueError if `text` is not an IP address.
    """
    text = text.removeprefix("[").removesuffix("]")
    if ":" not in text:
        return IPv4Address(text)
    ip = IPv6Address(text)
    return ip.ipv4_mapped or ip


@lru_cache(maxsize=4096)
def canonical_network(text: str) -> IP | Network:
    """Read an IP address, or a network in CIDR form; a network of one address is that address.

    A network of IPv4 addresses written as IPv6 is IPv4. Raises ValueError if `text` is neither.
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
    """Return the IP version and the bits; those of a network begin those of its addresses."""
    if isinstance(ip, IPv4Address):
        return f"4{int(ip):032b}"
    if isinstance(ip, IPv6Address):
        return f"6{int(ip):0128b}"
    return bits_of(ip.network_address)[: 1 + ip.prefixlen]


_SOURCE = re.compile(r"(\w+):(\[[0-9A-Fa-f:.]+\]|[0-9.]+):([0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class TransportAddress:
    """The source or the destination of a message, or one of our own sockets."""

    transport: Transport
    ip: IP
    port: int
    ip_text: str = field(init=False, compare=False, repr=False)
    """The ip as text, made once: each request needs it several times."""
    _text: str = field(init=False, compare=False, repr=False)
    """All of it as text, made once."""

    def __post_init__(self) -> None:
        """Convert an IPv4 address that is written as IPv6, and make the texts."""
        if isinstance(self.ip, IPv6Address) and self.ip.ipv4_mapped is not None:
            object.__setattr__(self, "ip", self.ip.ipv4_mapped)
        ip_text = str(self.ip)
        host = f"[{ip_text}]" if self.ip.version == 6 else ip_text
        object.__setattr__(self, "ip_text", ip_text)
        object.__setattr__(self, "_text", f"{self.transport}:{host}:{self.port}")

    @classmethod
    @lru_cache(maxsize=1024)  # thousands of trunks share one registrar, and so one value
    def parse(cls, text: str) -> TransportAddress:
        """Read `udp:192.0.2.1:5060` or `tls:[2001:db8::1]:5061`. Raises ValueError."""
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
        return self._text
