"""Network addresses from which calls may come, and which sources they admit (the address rules).

Addresses are compared as values, never as text: `::ffff:192.0.2.1` is `192.0.2.1`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

IP = IPv4Address | IPv6Address

GRACE_S = 32.0
"""How long a learned address outlives its registration: calls in flight (64*T1, RFC 3261 17)."""


class Transport(StrEnum):
    """How SIP travels, from the weakest evidence of who sent it to the strongest."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


_STRENGTH = {Transport.UDP: 0, Transport.TCP: 1, Transport.TLS: 2}

ADMITTING = {Transport.UDP: "udp", Transport.TCP: "udp tcp", Transport.TLS: "udp tcp tls"}
"""Transport of a source → the transports over which an address that admits it may be learned."""


class Origin(StrEnum):
    """Why an address is there."""

    LEARNED = "learned"
    RESOLVED = "resolved"
    PINNED = "pinned"


@lru_cache(maxsize=4096)
def canonical_ip(text: str) -> IP:
    """Read an IP address; an IPv4 one written as IPv6 is IPv4.

    Raises ValueError if it is none.
    """
    ip = ip_address(text.removeprefix("[").removesuffix("]"))
    if isinstance(ip, IPv6Address):
        return ip.ipv4_mapped or ip
    return ip


_SOURCE = re.compile(r"(\w+):(\[[0-9A-Fa-f:.]+\]|[0-9.]+):([0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Source:
    """Where one request or reply came from."""

    transport: Transport
    ip: IP
    port: int

    @classmethod
    @lru_cache(maxsize=1024)  # thousands of trunks have one registrar: one value for all of them
    def parse(cls, text: str) -> Source:
        """Read `udp:192.0.2.1:5060` or `tls:[2001:db8::1]:5061`; a ValueError tells that form."""
        match = _SOURCE.fullmatch(text.strip())
        try:
            transport, host, port = match.groups() if match else ("", "", "0")
            source = cls(Transport(transport.lower()), canonical_ip(host), int(port))
        except ValueError:
            source = None
        if source is None or not 0 < source.port < 65536:
            raise ValueError(
                f'"{text}" is not a source; write transport:ip:port, "udp:203.0.113.7:5060"'
            )
        return source

    def __str__(self) -> str:
        host = f"[{self.ip}]" if self.ip.version == 6 else str(self.ip)
        return f"{self.transport}:{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a trunk.

    `port` is where the registrar answered from; a learned address admits any port of its ip.
    `socket` is ours, on which it was learned. `expires_at` None: until it is removed.
    """

    ip: IP
    port: int | None
    transport: Transport
    origin: Origin
    socket: str
    learned_at: float
    expires_at: float | None

    def live(self, now: float) -> bool:
        """Whether it still stands at `now`."""
        return self.expires_at is None or now < self.expires_at

    def admits(self, source: Source, now: float) -> bool:
        """Whether a request from `source` may be this trunk's.

        What was learned over a transport admits that transport and stronger ones, never a weaker:
        a UDP source is easily forged, a TLS one is not.
        """
        return (
            self.live(now)
            and self.ip == source.ip
            and _STRENGTH[source.transport] >= _STRENGTH[self.transport]
        )
