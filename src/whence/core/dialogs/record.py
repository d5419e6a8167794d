"""The record of a dialog in Kamailio's memory: its parties, and the paths to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, TypeVar

from whence.core.sip.transport_address import IP, TransportAddress

PARTS_LIMIT = 8
"""How many addresses, paths and cookies of one party a record keeps: the last ones."""


ENDED = "ended"
"""Stored instead of a record when a dialog ends, so that its cookie alone is not accepted."""


class Side(StrEnum):
    """A party of a dialog: the sender of its first request, or the one that answered."""

    CALLER = "caller"
    CALLEE = "callee"

    @property
    def other(self) -> Side:
        """Return the other party."""
        return Side.CALLEE if self is Side.CALLER else Side.CALLER


class RequestPath(NamedTuple):
    """How requests reach a party.

    `places`: its route set and its Contact, as `place` writes them. The host of a place may be a
    name. `hop`: the SIP URI to which the edge sends the requests; its host is an ip address.
    `at_source`: the party is a phone behind NAT or over its own connection. Requests reach it at
    the source of its messages only.
    """

    places: tuple[str, ...]
    hop: str
    at_source: bool = False


class OwnSockets(NamedTuple):
    """The edge's own sockets, each as ip and port for any transport, and their ips.

    They are compared with the next hop of a path. If the host of that hop is a name, the source of
    the party's message is compared.
    """

    sockets: frozenset[tuple[IP, int]]
    ips: frozenset[IP]

    @classmethod
    def of(cls, sockets: Sequence[TransportAddress]) -> OwnSockets:
        """Make it of the edge's sockets."""
        return cls(frozenset((s.ip, s.port) for s in sockets), frozenset(s.ip for s in sockets))


@dataclass(frozen=True, slots=True)
class Party:
    """One party of a dialog. `ips`: the sources of its messages, as text."""

    ips: tuple[str, ...] = ()
    ways: tuple[RequestPath, ...] = ()
    cookies: tuple[str, ...] = ()
    """The cookies with which requests may be sent *to* this party."""

    def with_more(self, ip: str, way: RequestPath | None, cookie: str) -> Party:
        """Return the party with the address, path and cookie of one more message."""
        return Party(
            _added(self.ips, ip or None),
            _added(self.ways, way),
            _added(self.cookies, cookie or None),
        )


@dataclass(frozen=True, slots=True)
class DialogRecord:
    """A dialog, as Kamailio's memory stores it.

    `call`: its Call-ID; `tag`: the caller's tag; both as `kept` writes them. `trunk_id`: the trunk
    of the call; `user`: the URI of the called local user; `caller_user`: that of the calling one.
    Each is empty if there is none.
    """

    call: str
    tag: str
    trunk_id: str
    user: str
    caller: Party
    callee: Party = Party()
    caller_user: str = ""
    cseq_offset: int = 0
    """How much higher the CSeq of the callee's requests is at the caller: the challenges that the
    edge has answered for it."""

    def user_of(self, side: Side) -> str:
        """Return the URI of the local user whose phone is this party; empty: another party."""
        return self.caller_user if side is Side.CALLER else self.user

    def party(self, side: Side) -> Party:
        """Return the caller or the callee."""
        return self.caller if side is Side.CALLER else self.callee

    def with_party(self, side: Side, party: Party) -> DialogRecord:
        """Return the record with a new caller or callee."""
        of_caller = side is Side.CALLER
        caller, callee = (party, self.callee) if of_caller else (self.caller, party)
        return replace(self, caller=caller, callee=callee)

    def to_text(self) -> str:
        """Write the record as one text, without a quotation mark or a NUL in it."""
        offset = str(self.cseq_offset)
        values = (self.call, self.tag, self.trunk_id, self.user, self.caller_user, offset)
        return "\n".join([*values, *_party_lines(self.caller), *_party_lines(self.callee)])

    @classmethod
    def from_text(cls, text: str) -> DialogRecord:
        """Read what `to_text` wrote. Raises ValueError for anything else."""
        call, tag, trunk_id, user, caller_user, offset, *lines = text.split("\n")
        a, b, c, d, e, f = lines
        caller, callee = _party(a, b, c), _party(d, e, f)
        return cls(call, tag, trunk_id, user, caller, callee, caller_user, int(offset))


# `_NAME`, `place` and `write_cookie` ensure that a place, a hop, an ip and a cookie hold no blank.
# Trunk ids and URIs of users hold no line feed.


_AT = "@"
"""Before the hop of a path that is `at_source`. A URI does not begin with it."""


def _party_lines(party: Party) -> tuple[str, str, str]:
    ways = "\t".join([" ".join((_AT * way.at_source + way.hop, *way.places)) for way in party.ways])
    return " ".join(party.ips), ways, " ".join(party.cookies)


def _party(ips: str, ways: str, cookies: str) -> Party:
    read = []
    for one in ways.split("\t") if ways else ():
        hop, *there = one.split(" ")
        read.append(RequestPath(tuple(there), hop.removeprefix(_AT), hop.startswith(_AT)))
    return Party(tuple(ips.split()), tuple(read), tuple(cookies.split()))


_T = TypeVar("_T")


def _added(seen: tuple[_T, ...], one: _T | None) -> tuple[_T, ...]:
    return seen if one is None or one in seen else (*seen, one)[-PARTS_LIMIT:]
