"""The next hops of a SIP URI, by RFC 3263.

- A literal address: itself, without DNS.
- A name with a port: A and AAAA of the name.
- `;transport=` without a port: SRV of this transport, else A and AAAA.
- Neither: NAPTR, else SRV of each transport, else A and AAAA.

Only transports and IP versions count for which the edge has sockets.

A TLS certificate must be for the host of the URI, not for a name from DNS (RFC 5922 7.1). An
attacker who forges an answer chooses that name, too. So a next hop contains no name.

A URI with an unknown transport has no next hops, and is logged. It may come from a 3xx.

A look-up has at most `NEXT_HOPS_LIMIT` next hops.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
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
"""The timeout of one look-up: NAPTR, SRV and addresses in sequence, with a margin."""

NEXT_HOPS_LIMIT = 16

SERVICES = {
    Transport.UDP: "_sip._udp",
    Transport.TCP: "_sip._tcp",
    Transport.TLS: "_sips._tcp",
}
"""Transport → its SRV name (RFC 3263 4.1), in the order of trial without NAPTR."""

NAPTR_SERVICES = {
    b"SIP+D2U": Transport.UDP,
    b"SIP+D2T": Transport.TCP,
    b"SIPS+D2T": Transport.TLS,
}

_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")

Pick = Callable[[int, int], int]
"""Returns a random integer between two, both included."""


class Finder(Protocol):
    """Looks up DNS records: `cache.DnsCache`."""

    async def find(self, name: str, kind: Kind) -> tuple[Rdata, ...] | None:
        """Return the records; () if there are none; None after a failure."""

    def good_for_s(self, name: str, kind: Kind) -> float:
        """Return for how many seconds the last answer is still valid."""

    def error_code(self, name: str, kind: Kind) -> str:
        """Return the error code of the last answer; empty without such an answer."""

    def failure(self, host: str) -> str:
        """Return how the last query for a name of this host failed; empty if none did."""


@dataclass(frozen=True, slots=True)
class _Service:
    transport: Transport
    name: str
    """The owner name of its SRV records."""


class SipResolver:
    """Finds next hops. `sockets`: (transport, IP version) of each socket of the edge."""

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
        """Return its next hops, best first; empty if it has none, or after a failure."""
        if refusal := _refusal(server):
            log.warning("%.80a is not looked up: %s", server.host, refusal)
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
        """Return all its next hops, and for how many seconds they are valid: the shortest TTL.

        Empty if it has none, or after a failure. A literal address is itself, without an end.
        """
        if _refusal(server):
            return (), 0.0
        literal = _literal(server)
        if literal is not None:
            return (literal,), inf
        tracker = _TtlTracker(self._records)
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await SipResolver(tracker, self._sockets, self._pick)._find(server)
        except TimeoutError:
            return (), 0.0
        return tuple(dict.fromkeys(found)), tracker.shortest_s

    def why_none(self, server: Uri) -> Why:
        """Return why the last `targets` found no next hops."""
        if refusal := _refusal(server):
            return Why(RegistrationReason.NO_SOCKET, refusal)
        literal = _literal(server)
        if literal is not None:
            message = f"the edge has no {literal.transport} socket for IPv{literal.ip.version}"
            return Why(RegistrationReason.NO_SOCKET, message)
        if not self._transports(server):
            message = f"the edge has no {_transport(server) or 'fitting'} socket"
            return Why(RegistrationReason.NO_SOCKET, message)
        if failure := self._records.failure(server.host):
            reason = RegistrationReason.DNS_FAILED
            if failure == "does not answer":
                reason = RegistrationReason.DNS_SILENT
            return Why(reason, f"DNS {failure} for {server.host}")
        message = f"DNS has no address of {server.host} that the edge has a socket for"
        return Why(RegistrationReason.NO_ADDRESS, message)

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
            servers = [
                (_text(srv.target), srv.port, service.transport)
                for service, records in zip(services, listed, strict=True)
                for srv in by_priority(records or (), self._pick)
            ][:NEXT_HOPS_LIMIT]
            found = await asyncio.gather(*(self._addresses(*server_) for server_ in servers))
            return [next_hop for part in found for next_hop in part]
        if any(
            found is None and not self._records.error_code(service.name, "SRV")
            for service, found in zip(services, listed, strict=True)
        ):
            # It may have SRV records. Its A record may be of its web site. After an answer with
            # an error code, as of name servers without SRV, its addresses are used.
            return ()
        transport = services[0].transport if services else transports[0]
        return await self._addresses(server.host, transport.default_port, transport)

    def _transports(self, server: Uri) -> list[Transport]:
        """Return the transports that the URI allows and the edge has, best first (RFC 3263 4.1)."""
        given = _transport(server)
        allowed = [given] if given else list(SERVICES)
        has = {transport for transport, _ in self._sockets}
        return [transport for transport in allowed if transport in has]

    async def _preferred(self, host: str, transports: Collection[Transport]) -> list[_Service]:
        """Return the services that the domain prefers, by its NAPTR records (RFC 3263 4.1).

        If it prefers TLS, only TLS is used: an attacker who blocks TLS must not cause a downgrade.
        A failure counts as no records: some name servers do not support NAPTR.
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
        """Return the addresses of a name for the edge's IP versions; IPv6 first (RFC 6724 2.1)."""
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
        return [TransportAddress(transport, ip, port) for ip in addresses if _is_usable(ip)]


class _TtlTracker:
    """A Finder that records the shortest validity of the answers."""

    def __init__(self, records: Finder) -> None:
        self._records = records
        self.shortest_s = inf

    async def find(self, name: str, kind: Kind) -> tuple[Rdata, ...] | None:
        """Look up, and record the validity of a non-empty answer."""
        found = await self._records.find(name, kind)
        if found:
            self.shortest_s = min(self.shortest_s, self.good_for_s(name, kind))
        return found

    def good_for_s(self, name: str, kind: Kind) -> float:
        """Return for how many seconds the last answer is still valid."""
        return self._records.good_for_s(name, kind)

    def error_code(self, name: str, kind: Kind) -> str:
        """Return the error code of the last answer; empty without such an answer."""
        return self._records.error_code(name, kind)

    def failure(self, host: str) -> str:
        """Return how the last query for a name of this host failed; empty if none did."""
        return self._records.failure(host)


def by_priority(records: Iterable[Rdata], pick: Pick) -> list[SRV]:
    """Return the SRV records in the order of trial: by priority, then by weight.

    The target "." means that the service does not exist (RFC 2782).
    """
    usable = [r for r in records if isinstance(r, SRV) and r.target != dns.name.root and r.port > 0]
    usable.sort(key=lambda srv: srv.priority)
    return [
        srv
        for _, equals in groupby(usable, key=lambda srv: srv.priority)
        for srv in _by_weight(list(equals), pick)
    ]


def _by_weight(records: list[SRV], pick: Pick) -> Iterable[SRV]:
    """Draw one after the other, with probabilities by weight (RFC 2782)."""
    left = sorted(records, key=lambda srv: srv.weight)  # weight 0 first, as RFC 2782 orders them
    while left:
        sums = list(accumulate(srv.weight for srv in left))
        drawn = pick(0, sums[-1])
        yield left.pop(next(i for i, reached in enumerate(sums) if reached >= drawn))


def _refusal(server: Uri) -> str:
    """Return why the transport of the URI is invalid; empty if it is valid.

    The URI may come from a 3xx, and contain anything.
    """
    try:
        _transport(server)
    except ValueError as error:
        return str(error)
    return ""


def _literal(server: Uri) -> TransportAddress | None:
    return _at(server.host, server.port, _transport(server) or Transport.UDP)


@lru_cache(maxsize=1024)  # thousands of trunks share one registrar
def _at(host: str, port: int | None, transport: Transport) -> TransportAddress | None:
    """Return a next hop without DNS; None if `host` is a name."""
    try:
        ip = canonical_ip(host)
    except ValueError:
        return None
    if isinstance(ip, IPv6Address) and ip.scope_id is not None:
        return None  # without a link it has no route, as in `_is_usable`; and it is no name
    return TransportAddress(transport, ip, port or transport.default_port)


def _transport(server: Uri) -> Transport | None:
    """Return the transport of the URI, if any. Raises: ValueError for an unknown one."""
    if server.scheme == "sips":
        return Transport.TLS
    given = server.params.get("transport")
    return Transport.parse(given) if given else None


def _is_usable(ip: IP) -> bool:
    """Return whether a REGISTER can be sent there; a link-local address would need a link."""
    local = isinstance(ip, IPv6Address) and (ip.is_link_local or ip.ipv4_mapped is not None)
    return not (ip.is_unspecified or ip.is_multicast or local)


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
