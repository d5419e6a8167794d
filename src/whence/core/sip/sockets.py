"""The edge's listening sockets: which one sends a request, and the address that others see."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from whence.core.sip.transport_address import TransportAddress


@dataclass(frozen=True, slots=True)
class EdgeSockets:
    """The sockets that the edge listens on, and the address that it advertises."""

    listen: tuple[TransportAddress, ...]
    """At least one."""
    advertised_ip: str = ""
    """Empty: the edge advertises the address of each socket."""
    advertised_port: int | None = None
    """None: the edge advertises the port of each socket."""

    def place_of(self, socket: TransportAddress) -> tuple[str, int]:
        """Return the (ip, port) at which others see `socket`.

        The advertised address has one IP version. A socket of the other version shows its own.
        """
        ip = self.advertised_ip
        if not ip or ip_address(ip).version != socket.ip.version:
            return str(socket.ip), socket.port
        return ip, self.advertised_port or socket.port

    def socket_for(self, transport: str, ip_version: int) -> TransportAddress | None:
        """Return the socket that sends over `transport` to an address of IPv4 or IPv6."""
        fitting = (s for s in self.listen if s.transport == transport)
        return next((s for s in fitting if s.ip.version == ip_version), None)

    def first_for(self, transport: str) -> TransportAddress:
        """Return the first socket of `transport`, or the first of all where none has it."""
        return next((s for s in self.listen if s.transport == transport), self.listen[0])


LOCAL = EdgeSockets((TransportAddress.parse("udp:127.0.0.1:5060"),))
"""The default of `listen`."""
