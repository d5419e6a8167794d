"""Where requests inside a dialog may lead.

The Record-Route of each INVITE, and of its answers, carries a *cookie*, which names the dialog. Its
MAC covers the route set and the Contact of the other party (RFC 3261 12.1). Requests with the
cookie may lead only there. For dialogs that began before Kamailio's last start, the edge verifies
the cookie alone. For later dialogs, Kamailio's memory also has a record. It holds the addresses of
both parties, and refreshed Contacts (RFC 3261 12.2). A later dialog without a record has ended.

The edge sends no request to a name that a party chose. If the next hop is a name, it sends to the
address from which the party's own message came.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address

from whence.core.dialogs.cookie import covers_way, source_in
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
"""How many places a route set with its target has at most."""


# A place is text, and no TransportAddress, because its host may be a name. A cookie's MAC covers
# that text, and Kamailio's memory stores it.

_NAME = re.compile(r"[a-z0-9_.-]{1,255}", re.ASCII)


def place(uri: Uri) -> str | None:
    """Write where a URI leads, as `transport:host:port`; None for unknown schemes and transports.

    User, password and other parameters do not matter: parties may change them during a call.
    """
    if "maddr" in uri.params:
        return None
    return _place(uri.scheme, uri.host, uri.port, uri.params.get("transport"))


@lru_cache(maxsize=4096)  # the parties of many calls share few places
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
    """Write the places of a request with these Routes and this Request-URI, the next hop first.

    Return None if one of them cannot be read, or if there are too many.
    """
    uris = [*routes, target]
    written = [place(uri) if uri is not None else None for uri in uris]
    known = tuple([one for one in written if one is not None])
    return known if len(known) == len(uris) <= ROUTES_LIMIT else None


def uris(values: Sequence[str]) -> list[Uri | None]:
    """Read the URIs of Route, Record-Route or Contact headers; None for each unreadable one."""
    found: list[Uri | None] = []
    for value in values:
        if '"' in value or "," in value:
            entries = listed(value)
            found += [entry.uri if entry.uri.scheme else None for entry in entries]
        else:
            found.append(Uri.of_header(value))
    return found


def is_at_source(
    contact: Uri | None, source: TransportAddress, *, is_sent_by: bool = True, has_nat: bool = False
) -> bool:
    """Return whether requests reach a phone at the source of its message only.

    `is_sent_by`: whether its Via names the source. `has_nat`: whether it registered from behind
    NAT. A phone that sends from one port and receives at another has its own ip in its Contact.
    """
    if source.transport is not Transport.UDP or has_nat or not is_sent_by:
        return True
    return contact is None or _ip(contact.host) != source.ip


def way(
    routes: Sequence[Uri | None],
    contact: Uri | None,
    source: TransportAddress,
    own: OwnSockets,
    *,
    at_source: bool = False,
) -> RequestPath | None:
    """Return the path to the party whose message from `source` has this route set and Contact.

    `at_source`: the party is a phone, and `is_at_source` its message. Its own routes come first.

    `routes`: the next hop comes first. Return None if the path has no readable place, or if a party
    may not choose its next hop. A party may choose none of the edge's own sockets. It may choose a
    loopback address, or an address of this machine, only if it is there itself.
    """
    there = places(routes, contact)
    if there is None:
        return None
    at_source = at_source and len(there) == 1
    hop = _next_hop("" if at_source else there[0], source, own)
    return None if hop is None else RequestPath(there, hop, at_source)


@lru_cache(maxsize=4096)
def _next_hop(first: str, source: TransportAddress, own: OwnSockets) -> str | None:
    next_hop = _address(first, source)
    at_own_socket = (next_hop.ip, next_hop.port) in own.sockets
    if at_own_socket or not _may_lead(next_hop.ip, source, own):
        return None
    return _uri_of(str(next_hop))


def _address(first: str, source: TransportAddress) -> TransportAddress:
    """Read the first place. If it is empty or a name, return the source of the message instead."""
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


# Which requests a party may send, and what a message of a party changes.


def direction(
    record: DialogRecord, cookie: str, there: tuple[str, ...]
) -> tuple[Side, RequestPath] | None:
    """Return the sender of a request with this cookie along these places, and its path.

    Return None if it leads to no party of the dialog.
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
    """Return the same for a dialog without a record: its cookie alone decides.

    The address of the callee is unknown, and the next hop to it may be a name.
    """
    for sender in Side:
        known_ip = from_ip if sender is Side.CALLER else ""
        if covers_way(key, cookie, call_id, sender.other, there, known_ip):
            source = source_in(cookie)
            if source is not None:
                return sender, RequestPath(there, _uri_of(str(source)), True)
            return sender, RequestPath(there, _uri_of(there[0]))
    return None


def refreshed(
    before: RequestPath,
    contact: Uri | None,
    source: TransportAddress,
    own: OwnSockets,
    *,
    at_source: bool = False,
) -> RequestPath | None:
    """Return the path to a party whose message from `source` has a new Contact (RFC 3261 12.2).

    The route set stays. Return None if the edge does not send there: see `way`.
    """
    *routes, _ = before.places
    if not routes:
        return way((), contact, source, own, at_source=at_source)
    target = place(contact) if contact is not None else None
    return RequestPath((*routes, target), before.hop) if target is not None else None


def is_address(first: str) -> bool:
    """Return whether the host of a place is an ip address, so that no name is resolved."""
    try:
        TransportAddress.parse(first)
    except ValueError:
        return False
    return True


def source_of(path: RequestPath) -> TransportAddress | None:
    """Return the source at which a phone is reached; None for other parties."""
    if not path.at_source:
        return None
    place, _, transport = path.hop.removeprefix("sip:").partition(";transport=")
    return TransportAddress.parse(f"{transport or Transport.UDP}:{place}")


def _uri_of(first: str) -> str:
    transport, _, rest = first.partition(":")
    if transport == "wss":
        transport = "ws"  # a URI has no other word for it (RFC 7118 4)
    return f"sip:{rest}" if transport == "udp" else f"sip:{rest};transport={transport}"
