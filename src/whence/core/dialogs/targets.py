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
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address
from typing import NamedTuple, TypeVar

from whence.core.identification.address import IP, Source, canonical_ip
from whence.core.sip.contact import listed
from whence.core.sip.uri import Uri, host_text
from whence.ipc.headers import mac, same

PARAM = "whence"
"""The parameter of our Record-Route that holds the cookie."""

_TIME_LENGTH = 12
ID_LENGTH = _TIME_LENGTH + 16
"""Hex digits of a dialog's id: the millisecond of its begin, and random ones."""

MAC_LENGTH = 18
COOKIE_LENGTH = ID_LENGTH + 2 * MAC_LENGTH
"""A cookie is the id, a MAC over the Via of the request, and a MAC over the way."""

OLD_S = 86_400
"""How long a dialog may be silent, and how long the cookie of an old one vouches alone."""

PARTS_LIMIT = 8
"""How many addresses, ways and cookies of one party are remembered: the last ones."""

KEPT_LENGTH = 128
"""The longest Call-ID or tag that a record has as it is."""

ROUTES_LIMIT = 16
"""The longest route set that is accepted."""

ENDED = "ended"
"""What stands for the record of a dialog that ended, where its cookie alone would vouch for it."""


class Side(StrEnum):
    """A party of a dialog: who sent its first request, or who answered it."""

    CALLER = "caller"
    CALLEE = "callee"

    @property
    def other(self) -> Side:
        """Return the other party."""
        return Side.CALLEE if self is Side.CALLER else Side.CALLER


class Way(NamedTuple):
    """How requests reach a party.

    `places`: its route set and its Contact, as `place` writes them. `hop`: the SIP URI to which the
    edge sends them; its host is an ip address.
    """

    places: tuple[str, ...]
    hop: str


class Own(NamedTuple):
    """The edge's own sockets, and the addresses that they are on."""

    sockets: frozenset[tuple[IP, int]]
    ips: frozenset[IP]

    @classmethod
    def of(cls, sockets: Sequence[Source]) -> Own:
        """Make it of the sockets, as `transport:ip:port`."""
        return cls(frozenset((s.ip, s.port) for s in sockets), frozenset(s.ip for s in sockets))


@dataclass(frozen=True, slots=True)
class Party:
    """What is known of one party. `ips`: where its messages came from, as text."""

    ips: tuple[str, ...] = ()
    ways: tuple[Way, ...] = ()
    cookies: tuple[str, ...] = ()
    """The cookies with which requests may be sent *to* this party."""

    def with_more(self, ip: str, way: Way | None, cookie: str) -> Party:
        """Return the party with what one more of its messages says."""
        return Party(
            _added(self.ips, ip or None),
            _added(self.ways, way),
            _added(self.cookies, cookie or None),
        )


@dataclass(frozen=True, slots=True)
class Record:
    """What Kamailio's memory has of a dialog.

    `call`: its Call-ID, and `tag` the caller's tag, as `kept` writes them. `trunk_id`: the trunk
    that it came by; `user`: the URI of the local user that it went to. Both are empty where there
    is none.
    """

    call: str
    tag: str
    trunk_id: str
    user: str
    caller: Party
    callee: Party = Party()

    def party(self, side: Side) -> Party:
        """Return the caller or the callee."""
        return self.caller if side is Side.CALLER else self.callee

    def with_party(self, side: Side, party: Party) -> Record:
        """Return the record with another caller or callee."""
        of_caller = side is Side.CALLER
        caller, callee = (party, self.callee) if of_caller else (self.caller, party)
        return Record(self.call, self.tag, self.trunk_id, self.user, caller, callee)

    def to_text(self) -> str:
        """Write the record as one text, without a quotation mark or a NUL in it."""
        values = (self.call, self.tag, self.trunk_id, self.user)
        return "\n".join([*values, *_party_lines(self.caller), *_party_lines(self.callee)])

    @classmethod
    def from_text(cls, text: str) -> Record:
        """Read what `to_text` wrote. Raises ValueError for anything else."""
        call, tag, trunk_id, user, *lines = text.split("\n")
        a, b, c, d, e, f = lines
        return cls(call, tag, trunk_id, user, _party(a, b, c), _party(d, e, f))


# A place, a hop, an ip and a cookie have no blank in them: `_NAME`, `place` and `write_cookie` see
# to that. An id of a trunk and the URI of a user have no line feed.


def _party_lines(party: Party) -> tuple[str, str, str]:
    ways = "\t".join([" ".join((way.hop, *way.places)) for way in party.ways])
    return " ".join(party.ips), ways, " ".join(party.cookies)


def _party(ips: str, ways: str, cookies: str) -> Party:
    read = []
    for one in ways.split("\t") if ways else ():
        hop, *there = one.split(" ")
        read.append(Way(tuple(there), hop))
    return Party(tuple(ips.split()), tuple(read), tuple(cookies.split()))


_T = TypeVar("_T")


def _added(seen: tuple[_T, ...], one: _T | None) -> tuple[_T, ...]:
    return seen if one is None or one in seen else (*seen, one)[-PARTS_LIMIT:]


# Places, and the ways that lead along them.

_NAME = re.compile(r"[a-z0-9_.-]{1,255}", re.ASCII)
_TRANSPORTS = frozenset({"udp", "tcp", "tls"})


def place(uri: Uri) -> str | None:
    """Write where a URI leads, as `transport:host:port`; None for what leads nowhere we know.

    User, password and other parameters lead nowhere: parties may change them in mid-call.
    """
    if "maddr" in uri.params:
        return None
    return _place(uri.scheme, uri.host, uri.port, uri.params.get("transport"))


@lru_cache(maxsize=4096)  # the parties of many calls are at few places
def _place(scheme: str, host: str, port: int | None, transport: str | None) -> str | None:
    secure = scheme == "sips"
    transport = (transport or ("tls" if secure else "udp")).lower()
    if secure and transport == "tcp":
        transport = "tls"
    host = host.lower()
    if scheme == "tel" or transport not in _TRANSPORTS:
        return None
    ip = _ip(host)
    if ip is None and not _NAME.fullmatch(host):
        return None
    port = port or (5061 if transport == "tls" else 5060)
    return f"{transport}:{host if ip is None else host_text(str(ip))}:{port}"


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


def way(routes: Sequence[Uri | None], contact: Uri | None, source: Source, own: Own) -> Way | None:
    """Return how requests reach the party whose message from `source` has this route set (the next
    hop first) and Contact.

    None where they reach it nowhere, or where its next hop is none that a party may choose: one of
    our own sockets; a loopback address, or one of our own, but for a party that is there.
    """
    there = places(routes, contact)
    hop = None if there is None else _next_hop(there[0], source, own)
    return None if there is None or hop is None else Way(there, hop)


@lru_cache(maxsize=4096)
def _next_hop(first: str, source: Source, own: Own) -> str | None:
    transport, ip, port = _hop(first, source)
    if (ip, port) in own.sockets or not _may_lead(ip, source, own):
        return None
    return _uri_of(f"{transport}:{host_text(str(ip))}:{port}")


def _hop(first: str, source: Source) -> tuple[str, IP, int]:
    """Return (transport, ip, port) of the next hop; of a name, where the message came from."""
    transport, _, rest = first.partition(":")
    host, _, port = rest.rpartition(":")
    ip = _ip(host)
    if ip is None:
        return source.transport, source.ip, source.port
    return transport, ip, int(port)


def _may_lead(ip: IP, source: Source, own: Own) -> bool:
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


# Cookies.


def new_id(now: float, randomness: str) -> str:
    """Make a dialog's id. `randomness`: 16 hex digits."""
    return f"{int(now * 1000):012x}{randomness}"


def write_cookie(
    key: str,
    id_: str,
    call_id: str,
    via: str,
    to: Side,
    there: Sequence[str],
    from_ip: str,
) -> str:
    """Write the cookie of a Record-Route.

    `via`: where answers to the request go, as `transport:ip:port`, with `#connection` of a stream;
    `to`: the party that requests with this cookie reach, along the places `there`; `from_ip`: where
    they come from, empty where that is not known.
    """
    return id_ + _via_mac(key, id_, call_id, via) + _way_mac(key, id_, call_id, to, there, from_ip)


def began_at(cookie: str) -> float:
    """Return when the dialog of a cookie began. Raises ValueError where that is no cookie."""
    return int(cookie[:_TIME_LENGTH], 16) / 1000


def covers_via(key: str, cookie: str, call_id: str, via: str) -> bool:
    """Return whether a cookie of this call was made for a request whose answers go to `via`."""
    theirs = cookie[ID_LENGTH : ID_LENGTH + MAC_LENGTH]
    return same(theirs, _via_mac(key, cookie[:ID_LENGTH], call_id, via))


def covers_way(
    key: str, cookie: str, call_id: str, to: Side, there: Sequence[str], from_ip: str
) -> bool:
    """Return whether a cookie of this call was made for the way along the places `there`."""
    theirs = cookie[ID_LENGTH + MAC_LENGTH : COOKIE_LENGTH]
    return same(theirs, _way_mac(key, cookie[:ID_LENGTH], call_id, to, there, from_ip))


def kept(key: str, text: str) -> str:
    """Return what a record has of a Call-ID or tag: itself, or a MAC of a long or odd one."""
    if len(text) <= KEPT_LENGTH and text.isprintable():
        return text
    return "\x1f" + mac(key, MAC_LENGTH // 2, "kept", text)


def _via_mac(key: str, id_: str, call_id: str, via: str) -> str:
    return mac(key, MAC_LENGTH // 2, "via", id_, call_id, via)


def _way_mac(key: str, id_: str, call_id: str, to: Side, there: Sequence[str], from_ip: str) -> str:
    return mac(key, MAC_LENGTH // 2, "way", id_, call_id, to, from_ip, *there)


# Who may send what, and what a message of a party changes.


def direction(record: Record, cookie: str, there: tuple[str, ...]) -> tuple[Side, Way] | None:
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
) -> tuple[Side, Way] | None:
    """Return the same for a dialog of which there is no record: its cookie alone says it.

    The address of the callee is not known, and his next hop may be a name.
    """
    for sender in Side:
        known_ip = from_ip if sender is Side.CALLER else ""
        if covers_way(key, cookie, call_id, sender.other, there, known_ip):
            return sender, Way(there, _uri_of(there[0]))
    return None


def refreshed(before: Way, contact: Uri | None, source: Source, own: Own) -> Way | None:
    """Return the way to a party whose message from `source` has a new Contact (RFC 3261 12.2).

    Its route set stays. None where the edge does not send there: see `way`.
    """
    *routes, _ = before.places
    if not routes:
        return way((), contact, source, own)
    target = place(contact) if contact is not None else None
    return Way((*routes, target), before.hop) if target is not None else None


def _uri_of(first: str) -> str:
    transport, _, rest = first.partition(":")
    return f"sip:{rest}" if transport == "udp" else f"sip:{rest};transport={transport}"
