"""Which addresses that DNS names beside a registrar are its siblings, so that they admit calls.

DNS is weak evidence: a server at such an address has not proven that it knows our account. So
- a sibling is reachable from where the registrar is: one on the Internet has none in our network;
- a sibling admits no weaker transport than the one over which the registrar granted;
- a sibling expires with the DNS answer that named it, or with the grant, if that is earlier;
- a trunk has few siblings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from whence.core.identification.address import Address, Origin
from whence.core.sip.transport_address import IP, TransportAddress

LIMIT = 16
"""How many siblings one trunk has at most."""

_SHARED = IPv4Network("100.64.0.0/10")


@dataclass(frozen=True, slots=True)
class SiblingSettings:
    """How the agent follows DNS for all trunks."""

    own: frozenset[IP]
    """The ips of the edge's own sockets."""
    grace_s: float
    """How long a learned address outlives its registration."""
    least_s: float
    """An answer of DNS is valid at least this long, even with a shorter time to live."""
    most_s: float
    """An answer of DNS is valid at most this long."""


class Reach(StrEnum):
    """The scope from which an address can be reached."""

    HERE = "this_machine"
    LINK = "this_link"
    PRIVATE = "this_network"
    SHARED = "carrier_network"
    WORLD = "everywhere"


def reach(ip: IP) -> Reach | None:
    """Return the scope of `ip`; None if it is no host's own: multicast, unspecified, broadcast."""
    if ip.is_multicast or ip.is_unspecified or ip == IPv4Address("255.255.255.255"):
        return None
    if ip.is_loopback:
        return Reach.HERE
    if ip.is_link_local:
        return Reach.LINK
    if ip.version == 4 and ip in _SHARED:
        return Reach.SHARED
    return Reach.PRIVATE if ip.is_private or ip.is_reserved else Reach.WORLD


def siblings(
    found: Iterable[TransportAddress],
    registrar: TransportAddress,
    own: Collection[IP],
    *,
    exact: bool,
    now: float,
    expires_at: float,
) -> tuple[Address, ...]:
    """Return the siblings of `registrar`, which granted, among the addresses `found` in DNS.

    `own`: our own addresses, from which no provider calls. `exact`: the siblings admit only the
    port that DNS names; otherwise any port.
    """
    near = reach(registrar.ip)
    hops = [hop for hop in found if not exact or hop.transport == registrar.transport]
    places = {(hop.ip, hop.port if exact else None) for hop in hops}
    beside = [
        (ip, port)
        for ip, port in places
        if ip != registrar.ip and ip not in own and near is not None and reach(ip) is near
    ]
    # Sorted, so that each look-up chooses the same few.
    beside.sort(key=lambda place: (place[0].version, int(place[0]), place[1] or 0))
    return tuple(
        Address(
            ip,
            port,
            registrar.transport,
            Origin.RESOLVED,
            socket="",
            learned_at=now,
            expires_at=expires_at,
            exact=exact,
        )
        for ip, port in beside[:LIMIT]
    )
