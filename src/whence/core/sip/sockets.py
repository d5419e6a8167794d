"""The edge's listening sockets: which one sends a request, and the address that others see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address

from whence.core.sip.transport_address import IP, Transport, TransportAddress

AUTO = "auto"
"""As `host` of an Advertised: the address at which each registrar sees our REGISTERs."""


@dataclass(frozen=True, slots=True)
class Advertised:
    """What the operator wrote as the address of a socket behind NAT."""

    host: str
    """An ip, a name that the agent resolves, or AUTO."""
    port: int | None = None
    """None: the port of the socket."""

    @property
    def ip_version(self) -> int | None:
        """4 or 6; None if the address is not known from the settings alone."""
        try:
            return ip_address(self.host).version
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class EdgeSockets:
    """The sockets that the edge listens on, and the addresses that it advertises for them."""

    listen: tuple[TransportAddress, ...]
    """At least one."""
    advertised: tuple[tuple[TransportAddress, Advertised], ...] = ()
    """At most one for each socket. A socket without one shows its own address."""
    _fitting: Mapping[tuple[str, int], tuple[TransportAddress, ...]] = field(
        init=False, compare=False, repr=False
    )
    """(transport, IP version) → the sockets that fit, made once."""

    def __post_init__(self) -> None:
        """Make `_fitting`."""
        fitting: dict[tuple[str, int], tuple[TransportAddress, ...]] = {}
        for socket in self.listen:
            key = socket.transport, socket.ip.version
            fitting[key] = (*fitting.get(key, ()), socket)
        object.__setattr__(self, "_fitting", fitting)

    def advertised_of(self, socket: TransportAddress) -> Advertised | None:
        """Return the advertised address of a socket; None if it has none of its IP version."""
        if not self.advertised:
            return None
        found = next((one for own, one in self.advertised if own == socket), None)
        if found is None or found.ip_version not in (None, socket.ip.version):
            return None
        return found

    def place_of(self, socket: TransportAddress) -> tuple[str, int]:
        """Return the (ip, port) at which others see `socket`, as far as the settings say it.

        If the advertised address can change at run time, return the own address of the socket.
        """
        advertised = self.advertised_of(socket)
        if advertised is None or advertised.ip_version is None:
            return socket.ip_text, socket.port
        return advertised.host, advertised.port or socket.port

    def follows_nat(self, socket: TransportAddress) -> bool:
        """Return whether the advertised address of a socket can change at run time."""
        advertised = self.advertised_of(socket)
        return advertised is not None and advertised.ip_version is None

    def fitting(self, transport: str, ip_version: int) -> tuple[TransportAddress, ...]:
        """Return the sockets that can send over `transport` to an address of IPv4 or IPv6."""
        return self._fitting.get((transport, ip_version), ())

    def has_choice(self, transport: str, ip_version: int) -> bool:
        """Return whether several of our addresses can send over `transport`."""
        fitting = self.fitting(transport, ip_version)
        return len(fitting) > 1 and len({socket.ip for socket in fitting}) > 1

    def socket_for(
        self, transport: str, ip_version: int, own_ip: IP | None = None
    ) -> TransportAddress | None:
        """Return the socket that sends over `transport` to an address of IPv4 or IPv6.

        `own_ip`: the source address that the kernel uses for that address. Without a socket on it,
        the first fitting one sends.
        """
        fitting = self.fitting(transport, ip_version)
        if len(fitting) < 2:
            return fitting[0] if fitting else None
        on_route = (socket for socket in fitting if socket.ip == own_ip)
        return next(on_route, fitting[0])

    def first_for(self, transport: str) -> TransportAddress:
        """Return the first socket of `transport`, or the first of all where none has it."""
        return next((s for s in self.listen if s.transport == transport), self.listen[0])


def is_reachable(ip: IP) -> bool:
    """Return whether another machine could send to an address."""
    reserved = isinstance(ip, IPv4Address) and ip.is_reserved
    return not (ip.is_unspecified or ip.is_multicast or ip.is_link_local or reserved)


def can_show(socket: TransportAddress, ip: IP) -> bool:
    """Return whether `ip` can be the address at which others see `socket`.

    A loopback address shows a loopback socket only.
    """
    is_inside = ip.is_loopback and not socket.ip.is_loopback
    return ip.version == socket.ip.version and is_reachable(ip) and not is_inside


def seen_place(socket: TransportAddress, seen_at: TransportAddress) -> tuple[str, int] | None:
    """Return the (ip, port) for a Contact, where a registrar saw a request of `socket`.

    A stream has a port of its own for each connection: the Contact keeps that of the socket. None:
    the address cannot be ours.
    """
    if not can_show(socket, seen_at.ip):
        return None
    port = seen_at.port if socket.transport is Transport.UDP else socket.port
    return seen_at.ip_text, port


LOCAL = EdgeSockets((TransportAddress.parse("udp:127.0.0.1:5060"),))
"""The default of `listen`."""
