"""What Kamailio's memory has of a dialog: its parties, and how they are reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeVar

from whence.core.sip.transport_address import IP, TransportAddress

PARTS_LIMIT = 8
"""How many addresses, ways and cookies of one party are remembered: the last ones."""


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


class RequestPath(NamedTuple):
    """How requests reach a party.

    `places`: its route set and its Contact, as `place` writes them. `hop`: the SIP URI to which the
    edge sends them; its host is an ip address. Both are text: the host of a place may be a name.
    """

    places: tuple[str, ...]
    hop: str


class OwnSockets(NamedTuple):
    """The edge's own sockets, and the addresses that they are on.

    A socket is an ip and a port here, whatever its transport. It is compared with the next hop of a
    place, which is text because its host may be a name; that of a name is where its sender is.
    """

    sockets: frozenset[tuple[IP, int]]
    ips: frozenset[IP]

    @classmethod
    def of(cls, sockets: Sequence[TransportAddress]) -> OwnSockets:
        """Make it of the sockets, as `transport:ip:port`."""
        return cls(frozenset((s.ip, s.port) for s in sockets), frozenset(s.ip for s in sockets))


@dataclass(frozen=True, slots=True)
class Party:
    """What is known of one party. `ips`: where its messages came from, as text."""

    ips: tuple[str, ...] = ()
    ways: tuple[RequestPath, ...] = ()
    cookies: tuple[str, ...] = ()
    """The cookies with which requests may be sent *to* this party."""

    def with_more(self, ip: str, way: RequestPath | None, cookie: str) -> Party:
        """Return the party with what one more of its messages says."""
        return Party(
            _added(self.ips, ip or None),
            _added(self.ways, way),
            _added(self.cookies, cookie or None),
        )


@dataclass(frozen=True, slots=True)
class DialogRecord:
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

    def with_party(self, side: Side, party: Party) -> DialogRecord:
        """Return the record with another caller or callee."""
        of_caller = side is Side.CALLER
        caller, callee = (party, self.callee) if of_caller else (self.caller, party)
        return DialogRecord(self.call, self.tag, self.trunk_id, self.user, caller, callee)

    def to_text(self) -> str:
        """Write the record as one text, without a quotation mark or a NUL in it."""
        values = (self.call, self.tag, self.trunk_id, self.user)
        return "\n".join([*values, *_party_lines(self.caller), *_party_lines(self.callee)])

    @classmethod
    def from_text(cls, text: str) -> DialogRecord:
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
        read.append(RequestPath(tuple(there), hop))
    return Party(tuple(ips.split()), tuple(read), tuple(cookies.split()))


_T = TypeVar("_T")


def _added(seen: tuple[_T, ...], one: _T | None) -> tuple[_T, ...]:
    return seen if one is None or one in seen else (*seen, one)[-PARTS_LIMIT:]
