"""Which of the places that DNS names beside a registrar are its siblings: calls may come thence.

What DNS says is weak evidence: nobody there has shown that he knows our account. So a sibling
- is no easier to reach than the registrar itself: one on the Internet has none in our own network;
- is admitted over no weaker transport than that over which the registrar granted;
- lives no longer than the answer that named it, and the grant that it stands beside;
- is one of a few.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from whence.core.identification.address import Address, Origin
from whence.core.sip.transport_address import IP, TransportAddress

LIMIT = 16
"""How many siblings one trunk has at most, whatever DNS says."""

_SHARED = IPv4Network("100.64.0.0/10")


@dataclass(frozen=True, slots=True)
class SiblingSettings:
    """How the agent follows DNS for all trunks."""

    own: frozenset[IP]
    """The ips of the edge's own sockets."""
    grace_s: float
    """For how long a learned address outlives its registration."""
    least_s: float
    """An answer of DNS counts at least this long, whatever its time to live."""
    most_s: float
    """An answer of DNS counts at most this long."""


class Reach(StrEnum):
    """From where an address can be reached."""

    HERE = "this_machine"
    LINK = "this_link"
    PRIVATE = "this_network"
    SHARED = "carrier_network"
    WORLD = "everywhere"


def reach(ip: IP) -> Reach | None:
    """From where `ip` can be reached; None where it is nobody's own: multicast, unspecified, …"""
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
    """Choose the addresses beside `registrar`, which granted, among what was `found` in DNS.

    `own` are our own addresses: nobody calls from there. `exact`: the trunk's calls come from the
    port that its servers are found at; else from any.
    """
    near = reach(registrar.ip)
    hops = [hop for hop in found if not exact or hop.transport == registrar.transport]
    places = {(hop.ip, hop.port if exact else None) for hop in hops}
    beside = [
        (ip, port)
        for ip, port in places
        if ip != registrar.ip and ip not in own and near is not None and reach(ip) is near
    ]
    # The same few at each look, whatever order they come in.
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
