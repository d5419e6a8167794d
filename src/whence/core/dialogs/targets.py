"""Dialogs that the edge let in: who takes part, and where requests inside lead.

The Record-Route of each INVITE and of its answers carries a *cookie*. It names the dialog, and a
MAC in it covers where the requests that carry it may lead: along the route set and to the Contact
that the other party gave (RFC 3261 12.1). The cookie alone vouches for dialogs that began before
Kamailio's last start. For those that began since, Kamailio's memory has a record too: the addresses
of both parties, and Contacts that were refreshed (RFC 3261 12.2). A dialog without a record has
ended.

No request is sent to a name that a party chose. Where the next hop is a name, requests go to the
address that the party's own message came from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address

from whence.core.dialogs.cookie import covers_way
from whence.core.dialogs.record import DialogRecord, OwnSockets, RequestPath, Side
from whence.core.sip.contact import listed
from whence.core.sip.transport_address import (
    IP,
    TRANSPORTS,
    Transport,
    TransportAddress,
    canonical_ip,
)
from whence.core.sip.uri import Uri, host_text

ROUTES_LIMIT = 16
"""The longest route set that is accepted."""


# Places, and the ways that lead along them. A place is text, and no TransportAddress: its host may
# be a name, a cookie's MAC covers that text, and Kamailio's memory keeps it.

_NAME = re.compile(r"[a-z0-9_.-]{1,255}", re.ASCII)


def place(uri: Uri) -> str | None:
    """Write where a URI leads, as `transport:host:port`; None for what leads nowhere we know.

    User, password and other parameters lead nowhere: parties may change them in mid-call.
    """
    if "maddr" in uri.params:
        return None
    return _place(uri.scheme, uri.host, uri.port, uri.params.get("transport"))


@lru_cache(maxsize=4096)  # the parties of many calls are at few places
def _place(scheme: str, host: str, port: int | None, given: str | None) -> str | None:
    secure = scheme == "sips"
    default = Transport.TLS if secure else Transport.UDP
    transport = TRANSPORTS.get(given.lower()) if given else default
    if scheme == "tel" or transport is None:
        return None
    if secure and transport is Transport.TCP:
        transport = Transport.TLS
    host = host.lower()
    ip = _ip(host)
    if ip is None and not _NAME.fullmatch(host):
        return None
    written = host if ip is None else host_text(str(ip))
    return f"{transport}:{written}:{port or transport.default_port}"


def places(routes: Sequence[Uri | None], target: Uri | None) -> tuple[str, ...] | None:
    """Write where a request with these Routes and this Request-URI leads, the next hop first.

    None where one of them cannot be read, or there are too many.
    """
    uris = [*routes, target]
    written = [place(uri) if uri is not None else None for uri in uris]
    known = tuple([one for one in written if one is not None])
    return known if len(known) == len(uris) <= ROUTES_LIMIT else None


def uris(values: Sequence[str]) -> list[Uri | None]:
    """Read the URIs of Route, Record-Route or Contact headers; None for each that is none."""
    found: list[Uri | None] = []
    for value in values:
        if '"' in value or "," in value:
            entries = listed(value)
            found += [entry.uri if entry.uri.scheme else None for entry in entries]
        else:
            found.append(Uri.of_header(value))
    return found


def way(
    routes: Sequence[Uri | None], contact: Uri | None, source: TransportAddress, own: OwnSockets
) -> RequestPath | None:
    """Return how requests reach the party whose message from `source` has this route set (the next
    hop first) and Contact.

    None where they reach it nowhere, or where its next hop is none that a party may choose: one of
    our own sockets; a loopback address, or one of our own, but for a party that is there.
    """
    there = places(routes, contact)
    hop = None if there is None else _next_hop(there[0], source, own)
    return None if there is None or hop is None else RequestPath(there, hop)


@lru_cache(maxsize=4096)
def _next_hop(first: str, source: TransportAddress, own: OwnSockets) -> str | None:
    next_hop = _address(first, source)
    at_own_socket = (next_hop.ip, next_hop.port) in own.sockets
    if at_own_socket or not _may_lead(next_hop.ip, source, own):
        return None
    return _uri_of(str(next_hop))


def _address(first: str, source: TransportAddress) -> TransportAddress:
    """Read the first place; where its host is a name, it is where the message came from."""
    try:
        return TransportAddress.parse(first)
    except ValueError:
        return source


def _may_lead(ip: IP, source: TransportAddress, own: OwnSockets) -> bool:
    if ip.is_loopback:
        return ip == source.ip
    if ip in own.ips:
        return source.ip in own.ips or source.ip.is_loopback
    reserved = isinstance(ip, IPv4Address) and ip.is_reserved  # 240.0.0.0/4, with broadcast
    return not (ip.is_unspecified or ip.is_multicast or reserved)


def _ip(host: str) -> IP | None:
    try:
        return canonical_ip(host)
    except ValueError:
        return None


# Who may send what, and what a message of a party changes.


def direction(
    record: DialogRecord, cookie: str, there: tuple[str, ...]
) -> tuple[Side, RequestPath] | None:
    """Return who sends a request with this cookie along these places, and the way; None where it
    leads to no party of the dialog.
    """
    for sender in Side:
        receiver = record.party(sender.other)
        if cookie in receiver.cookies:
            for one in receiver.ways:
                if one.places == there:
                    return sender, one
    return None


def direction_of_old(
    key: str, cookie: str, call_id: str, there: tuple[str, ...], from_ip: str
) -> tuple[Side, RequestPath] | None:
    """Return the same for a dialog of which there is no record: its cookie alone says it.

    The address of the callee is not known, and his next hop may be a name.
    """
    for sender in Side:
        known_ip = from_ip if sender is Side.CALLER else ""
        if covers_way(key, cookie, call_id, sender.other, there, known_ip):
            return sender, RequestPath(there, _uri_of(there[0]))
    return None


def refreshed(
    before: RequestPath, contact: Uri | None, source: TransportAddress, own: OwnSockets
) -> RequestPath | None:
    """Return the way to a party whose message from `source` has a new Contact (RFC 3261 12.2).

    Its route set stays. None where the edge does not send there: see `way`.
    """
    *routes, _ = before.places
    if not routes:
        return way((), contact, source, own)
    target = place(contact) if contact is not None else None
    return RequestPath((*routes, target), before.hop) if target is not None else None


def _uri_of(first: str) -> str:
    transport, _, rest = first.partition(":")
    return f"sip:{rest}" if transport == "udp" else f"sip:{rest};transport={transport}"
