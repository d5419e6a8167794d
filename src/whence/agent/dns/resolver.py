"""Where a server is now: the next hops of a SIP URI, by RFC 3263.

    literal address         itself; DNS is not asked
    port                    A and AAAA of the name
    ;transport=, no port    SRV of this transport, else A and AAAA
    neither                 NAPTR; else SRV of each transport; else A and AAAA
                            always within what the edge has sockets for

A TLS certificate is to be checked against the host of the URI, not against names that DNS led to
(RFC 5922 7.1): whoever forges an answer would choose the name too. So no next hop bears a name.

A URI with a transport that is not known leads nowhere, and the log says so: whoever redirects us
writes what he likes.

DNS answers choose only where REGISTERs go; at most `NEXT_HOPS_LIMIT` places, whatever they say.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from itertools import accumulate, groupby
from math import inf
from typing import Protocol

import dns.name
from dns.rdata import Rdata
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.NAPTR import NAPTR
from dns.rdtypes.IN.SRV import SRV

from whence.agent.dns.cache import Kind
from whence.core.registration.reason import RegistrationReason, Why
from whence.core.sip.transport_address import IP, Transport, TransportAddress, canonical_ip
from whence.core.sip.uri import Uri

log = logging.getLogger(__name__)

RESOLVE_S = 10.0
"""The limit of one look-up: NAPTR, SRV and addresses, one after the other, with some room."""

NEXT_HOPS_LIMIT = 16

SERVICES = {
    Transport.UDP: "_sip._udp",
    Transport.TCP: "_sip._tcp",
    Transport.TLS: "_sips._tcp",
}
"""Transport → its SRV name (RFC 3263 4.1); in the order in which they are tried without NAPTR.

One that has none is found by its addresses alone, where a URI names it.
"""

NAPTR_SERVICES = {
    b"SIP+D2U": Transport.UDP,
    b"SIP+D2T": Transport.TCP,
    b"SIPS+D2T": Transport.TLS,
}

_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")

Pick = Callable[[int, int], int]
"""A random integer between two, both included."""


class Finder(Protocol):
    """Who says what DNS says: `records.Records`."""

    async def find(self, name: str, kind: Kind) -> tuple[Rdata, ...] | None:
        """The records; () where there are none; None where nobody answers."""

    def good_for_s(self, name: str, kind: Kind) -> float:
        """For how many seconds more the last answer is good."""

    def is_silent(self, host: str) -> bool:
        """Whether nobody answered for a name of this host when it was asked for last."""


@dataclass(frozen=True, slots=True)
class _Service:
    transport: Transport
    name: str
    """Of its SRV records."""


class SipResolver:
    """Says where a server is now. `sockets`: (transport, IP version) of each socket of the edge."""

    def __init__(
        self,
        records: Finder,
        sockets: Collection[tuple[Transport, int]],
        pick: Pick = random.randint,
    ) -> None:
        self._records = records
        self._sockets = frozenset(sockets)
        self._pick = pick

    async def targets(self, server: Uri) -> tuple[TransportAddress, ...]:
        """Its next hops, best first; none where the name has none, or nobody says in time."""
        if refusal := _refusal(server):
            log.warning("%.80a leads nowhere: %s", server.host, refusal)
            return ()
        literal = _literal(server)
        if literal is not None:
            return (literal,)
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await self._find(server)
        except TimeoutError:
            return ()
        return tuple(dict.fromkeys(found))[:NEXT_HOPS_LIMIT]

    async def everywhere(self, server: Uri) -> tuple[tuple[TransportAddress, ...], float]:
        """Find all its next hops, and for how many seconds that counts: the shortest TTL of all.

        None where the name has none, or nobody says in time. A literal address is itself.
        """
        if _refusal(server):
            return (), 0.0
        literal = _literal(server)
        if literal is not None:
            return (literal,), inf
        noting = _Noting(self._records)
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await SipResolver(noting, self._sockets, self._pick)._find(server)
        except TimeoutError:
            return (), 0.0
        return tuple(dict.fromkeys(found)), noting.shortest_s

    def why_none(self, server: Uri) -> Why:
        """Say why there are no next hops now; as `targets` found it last."""
        if refusal := _refusal(server):
            return Why(RegistrationReason.NO_SOCKET, refusal)
        literal = _literal(server)
        if literal is not None:
            said = f"the edge has no {literal.transport} socket for IPv{literal.ip.version}"
            return Why(RegistrationReason.NO_SOCKET, said)
        if not self._transports(server):
            said = f"the edge has no {_transport(server) or 'fitting'} socket"
            return Why(RegistrationReason.NO_SOCKET, said)
        if self._records.is_silent(server.host):
            return Why(RegistrationReason.DNS_SILENT, f"DNS does not answer for {server.host}")
        said = f"DNS has no address of {server.host} that the edge has a socket for"
        return Why(RegistrationReason.NO_ADDRESS, said)

    async def _find(self, server: Uri) -> Sequence[TransportAddress]:
        transports = self._transports(server)
        if not transports or not _HOST_NAME.fullmatch(server.host):
            return ()
        if server.port is not None:
            return await self._addresses(server.host, server.port, transports[0])
        services = [
            _Service(t, f"{SERVICES[t]}.{server.host}") for t in transports if t in SERVICES
        ]
        if _transport(server) is None or server.scheme == "sips":
            services = await self._preferred(server.host, transports) or services
        listed = await asyncio.gather(*(self._records.find(s.name, "SRV") for s in services))
        if any(listed):
            places = [
                (_text(srv.target), srv.port, service.transport)
                for service, records in zip(services, listed, strict=True)
                for srv in by_priority(records or (), self._pick)
            ][:NEXT_HOPS_LIMIT]
            found = await asyncio.gather(*(self._addresses(*place) for place in places))
            return [next_hop for part in found for next_hop in part]
        if None in listed:
            # It may well have SRV records, and its address be that of its web site.
            return ()
        transport = services[0].transport if services else transports[0]
        return await self._addresses(server.host, transport.default_port, transport)

    def _transports(self, server: Uri) -> list[Transport]:
        """Which the URI allows and the edge has, best first (RFC 3263 4.1)."""
        given = _transport(server)
        allowed = [given] if given else list(SERVICES)
        has = {transport for transport, _ in self._sockets}
        return [transport for transport in allowed if transport in has]

    async def _preferred(self, host: str, transports: Collection[Transport]) -> list[_Service]:
        """What the domain prefers, by its NAPTR records (RFC 3263 4.1).

        Where it prefers TLS, nothing weaker follows: to block TLS shall gain nobody anything. Where
        nobody answers it goes on without: there are name servers that do not know NAPTR.
        """
        records = await self._records.find(host, "NAPTR") or ()
        offers = [r for r in records if isinstance(r, NAPTR) and r.flags.lower() == b"s"]
        offers.sort(key=lambda offer: (offer.order, offer.preference))
        services = [
            _Service(transport, _text(offer.replacement))
            for offer in offers
            if (transport := NAPTR_SERVICES.get(offer.service.upper())) and transport in transports
        ]
        if services and services[0].transport is Transport.TLS:
            services = [service for service in services if service.transport is Transport.TLS]
        return list(dict.fromkeys(services))[:NEXT_HOPS_LIMIT]

    async def _addresses(
        self, name: str, port: int, transport: Transport
    ) -> list[TransportAddress]:
        """Those of the families that the edge has; IPv6 first, as RFC 6724 2.1 has it."""
        kinds: list[Kind] = []
        if (transport, 6) in self._sockets:
            kinds.append("AAAA")
        if (transport, 4) in self._sockets:
            kinds.append("A")
        found = await asyncio.gather(*(self._records.find(name, kind) for kind in kinds))
        addresses = [
            ip_address(record.address)
            for records in found
            for record in records or ()
            if isinstance(record, A | AAAA)
        ]
        return [TransportAddress(transport, ip, port) for ip in addresses if _is_a_place(ip)]


class _Noting:
    """Passes questions on, and notes for how long the answers are good."""

    def __init__(self, records: Finder) -> None:
        self._records = records
        self.shortest_s = inf

    async def find(self, name: str, kind: Kind) -> tuple[Rdata, ...] | None:
        """Ask, and note for how long it counts if anything was found."""
        found = await self._records.find(name, kind)
        if found:
            self.shortest_s = min(self.shortest_s, self.good_for_s(name, kind))
        return found

    def good_for_s(self, name: str, kind: Kind) -> float:
        """For how many seconds more the last answer is good."""
        return self._records.good_for_s(name, kind)

    def is_silent(self, host: str) -> bool:
        """Whether nobody answered for a name of this host when it was asked for last."""
        return self._records.is_silent(host)


def by_priority(records: Iterable[Rdata], pick: Pick) -> list[SRV]:
    """SRV records in the order in which to try them: by priority, and by weight within it.

    A target of "." means that there is no such service (RFC 2782).
    """
    usable = [r for r in records if isinstance(r, SRV) and r.target != dns.name.root and r.port > 0]
    usable.sort(key=lambda srv: srv.priority)
    return [
        srv
        for _, equals in groupby(usable, key=lambda srv: srv.priority)
        for srv in _by_weight(list(equals), pick)
    ]


def _by_weight(records: list[SRV], pick: Pick) -> Iterable[SRV]:
    """Draw one after the other, each as likely as its weight says (RFC 2782)."""
    left = sorted(records, key=lambda srv: srv.weight)  # those of weight 0 come first
    while left:
        sums = list(accumulate(srv.weight for srv in left))
        drawn = pick(0, sums[-1])
        yield left.pop(next(i for i, reached in enumerate(sums) if reached >= drawn))


def _refusal(server: Uri) -> str:
    """Why the URI leads nowhere, whatever DNS says; nothing where its transport can be read.

    The URI may be a registrar's, that redirects us, and say anything.
    """
    try:
        _transport(server)
    except ValueError as error:
        return str(error)
    return ""


def _literal(server: Uri) -> TransportAddress | None:
    try:
        ip = canonical_ip(server.host)
    except ValueError:
        return None  # a name
    if isinstance(ip, IPv6Address) and ip.scope_id is not None:
        return None  # an address needs a link beside it, as in `_is_a_place`: no name either
    transport = _transport(server) or Transport.UDP
    return TransportAddress(transport, ip, server.port or transport.default_port)


def _transport(server: Uri) -> Transport | None:
    """Which the URI says, if any. Raises ValueError for one that is not known."""
    if server.scheme == "sips":
        return Transport.TLS
    given = server.params.get("transport")
    return Transport.parse(given) if given else None


def _is_a_place(ip: IP) -> bool:
    """Whether something can be sent there; a link-local IPv6 address needs a link beside it."""
    local = isinstance(ip, IPv6Address) and (ip.is_link_local or ip.ipv4_mapped is not None)
    return not (ip.is_unspecified or ip.is_multicast or local)


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
