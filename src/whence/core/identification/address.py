"""Network addresses from which calls may come, and which sources they admit (the address rules).

Addresses are compared as values, never as text: `::ffff:192.0.2.1` is `192.0.2.1`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from whence.core.sip.transport_address import IP, NETWORKS, Network, Transport, TransportAddress

GRACE_S = 32.0
"""How long a learned address outlives its registration: calls in flight (64*T1, RFC 3261 17)."""


class Origin(StrEnum):
    """Why an address is there."""

    LEARNED = "learned"
    RESOLVED = "resolved"
    PINNED = "pinned"


class ManagedBy(StrEnum):
    """What writes a pinned address, and may remove it."""

    FILE = "file"
    """The configuration file: a new file removes it."""
    ALLOW = "allow"
    """The operator, at run time: files leave it alone."""


class Address(NamedTuple):
    """One address of a trunk: where its calls may come from.

    `port` None: any. Where there is one, it tells trunks apart; others are admitted too, unless it
    is `exact`. `socket` is ours, on which it was learned. `expires_at` None: until it is removed.
    """

    ip: IP | Network
    port: int | None
    transport: Transport
    origin: Origin
    socket: str
    learned_at: float
    """When it came to be there."""
    expires_at: float | None
    exact: bool = False
    note: str = ""
    """Why it is there, in the operator's words."""
    managed_by: ManagedBy | None = None
    """Of a pinned address: what writes it, and may remove it."""
    ground: str = ""
    """Of a learned address: why it was learned from there (`core.learning.Ground`)."""

    def live(self, now: float) -> bool:
        """Whether it still stands at `now`."""
        return self.expires_at is None or now < self.expires_at

    def holds(self, ip: IP) -> bool:
        """Whether `ip` is this very address, or in its network."""
        at = self.ip
        return ip in at if isinstance(at, NETWORKS) else at == ip

    def fits_transport(self, transport: Transport) -> bool:
        """Whether what comes over `transport` is no weaker evidence than what it stands on.

        What was learned over a transport admits that transport and stronger ones, never a weaker:
        a UDP source is easily forged, a TLS one is not.
        """
        return transport.strength >= self.transport.strength

    def fits_port(self, port: int) -> bool:
        """Whether it admits what comes from `port`."""
        return not self.exact or self.port == port

    def admits(self, source: TransportAddress, now: float) -> bool:
        """Whether a request from `source` may be this trunk's."""
        return (
            self.live(now)
            and self.holds(source.ip)
            and self.fits_transport(source.transport)
            and self.fits_port(source.port)
        )
