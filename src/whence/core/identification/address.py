"""Network addresses from which calls may come, and which sources they admit.

Addresses are compared as values, never as text: `::ffff:192.0.2.1` is `192.0.2.1`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from whence.core.sip.transport_address import IP, NETWORKS, Network, Transport, TransportAddress

GRACE_S = 32.0
"""How long a learned address outlives its registration, for calls on their way: 64*T1 (RFC 3261
17)."""


class Origin(StrEnum):
    """Why an address is stored."""

    LEARNED = "learned"
    RESOLVED = "resolved"
    PINNED = "pinned"


class ManagedBy(StrEnum):
    """What writes a pinned address, and may remove it."""

    FILE = "file"
    """The settings file: a reload removes it."""
    ALLOW = "allow"
    """The operator, at run time: a reload keeps it."""


class Address(NamedTuple):
    """One address of a trunk, from which its calls may come.

    `port` None: any. A port distinguishes trunks at one ip. Other ports are admitted, too, unless
    the address is `exact`. `socket`: our socket on which it was learned. `expires_at` None: it is
    valid until it is removed.
    """

    ip: IP | Network
    port: int | None
    transport: Transport
    origin: Origin
    socket: str
    learned_at: float
    """When it was first stored."""
    expires_at: float | None
    exact: bool = False
    note: str = ""
    """Why it is stored, in the operator's words."""
    managed_by: ManagedBy | None = None
    """Of a pinned address: its writer, which alone may remove it."""
    ground: str = ""
    """Of a learned address: why it was learned (`core.registration.learning.Ground`)."""

    def live(self, now: float) -> bool:
        """Return whether it is valid at `now`."""
        return self.expires_at is None or now < self.expires_at

    def holds(self, ip: IP) -> bool:
        """Return whether `ip` equals this address, or is in its network."""
        at = self.ip
        return ip in at if isinstance(at, NETWORKS) else at == ip

    def fits_transport(self, transport: Transport) -> bool:
        """Return whether `transport` is at least as strong as the transport of the address.

        An address admits its own transport and stronger ones, but no weaker one. A UDP source is
        easily forged, a TLS source is not.
        """
        return transport.strength >= self.transport.strength

    def fits_port(self, port: int) -> bool:
        """Return whether it admits requests from `port`."""
        return not self.exact or self.port == port

    def admits(self, source: TransportAddress, now: float) -> bool:
        """Return whether it admits requests from `source` at `now`."""
        return (
            self.live(now)
            and self.holds(source.ip)
            and self.fits_transport(source.transport)
            and self.fits_port(source.port)
        )
