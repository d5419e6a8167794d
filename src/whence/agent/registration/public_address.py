"""The addresses at which the providers reach our sockets, where they change at run time.

A socket advertises a name, which the agent resolves again and again, or `auto`. With `auto` each
trunk has the address at which its own registrar sees us. So no registrar can move the Contact of
another trunk. An address counts only from a 2xx that the agent also learns from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Protocol

from whence.agent.registration.entry import Entry
from whence.core.registration.events import Action, Answered, Learn
from whence.core.registration.learning import Ground
from whence.core.sip.sockets import AUTO, Advertised, EdgeSockets, can_show, seen_place
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri, host_text

log = logging.getLogger(__name__)

MOVE_S = 60.0
"""Least time between two moves of a Contact that register at once: a NAT may change all ports."""

RESOLVE_LEAST_S, RESOLVE_MOST_S = 5.0, 300.0
"""A name is resolved after its TTL, within these bounds."""

Place = tuple[str, int]


class NameResolver(Protocol):
    """DNS."""

    async def everywhere(self, server: Uri) -> tuple[tuple[TransportAddress, ...], float]:
        """Return the addresses of a name, and for how many seconds they are valid."""


class PublicAddresses:
    """Knows where providers reach the sockets now."""

    def __init__(self, resolver: NameResolver, clock: Callable[[], float]) -> None:
        self._resolver = resolver
        self._clock = clock
        self._resolved: dict[TransportAddress, Place] = {}

    async def place_of(self, entry: Entry, socket: TransportAddress, sockets: EdgeSockets) -> Place:
        """Return the (ip, port) for the Contact of a trunk that registers from `socket`."""
        advertised = sockets.advertised_of(socket)
        if advertised is None or not sockets.follows_nat(socket):
            return sockets.place_of(socket)
        if advertised.host == AUTO:
            seen = entry.seen_at
            return seen[1] if seen is not None and seen[0] == socket else sockets.place_of(socket)
        if socket not in self._resolved:
            await self._resolve(socket, advertised)
        return self._resolved.get(socket, sockets.place_of(socket))

    def has_moved(
        self, entry: Entry, event: Answered, actions: Sequence[Action], sockets: EdgeSockets
    ) -> bool:
        """Store where the registrar sees us; return whether the trunk must register again now.

        `actions`: of the step that `event` caused. Without a Learn the reply was no 2xx, or its
        sender was not expected. With `learn_from = "any"` a reply from elsewhere learns, but does
        not move the Contact.
        """
        learns = any(isinstance(a, Learn) and a.ground is not Ground.ANY for a in actions)
        socket = entry.socket
        advertised = None if socket is None else sockets.advertised_of(socket)
        if socket is None or event.seen_at is None or not learns:
            return False
        if advertised is None or advertised.host != AUTO:
            return False
        place = seen_place(socket, event.seen_at)
        contact = entry.account.contact
        if place is None or place == (contact.host, contact.port):
            return False
        entry.seen_at = socket, place
        now = self._clock()
        if entry.moved_at is not None and 0 <= now - entry.moved_at < MOVE_S:
            return False  # the next refresh has the new Contact
        entry.moved_at = now
        log.info(
            "trunk %s: its registrar sees us at %s:%d; this is its Contact now",
            entry.trunk.id,
            host_text(place[0]),
            place[1],
        )
        return True

    async def resolve(self, sockets: EdgeSockets) -> tuple[set[TransportAddress], float]:
        """Resolve all advertised names; return the sockets that moved, and when to resolve again.

        If DNS gives no answer, or only addresses that cannot be ours, the last address stays.
        """
        moved, valid_s = set(), inf
        for socket, advertised in _names(sockets):
            before = self._resolved.get(socket)
            valid_s = min(valid_s, await self._resolve(socket, advertised))
            after = self._resolved.get(socket)
            if before != after and after is not None:
                log.info(
                    "%s: %s is now %s:%d", socket, advertised.host, host_text(after[0]), after[1]
                )
                moved.add(socket)
        return moved, min(max(valid_s, RESOLVE_LEAST_S), RESOLVE_MOST_S)

    async def _resolve(self, socket: TransportAddress, advertised: Advertised) -> float:
        """Resolve the name of one socket; return for how many seconds the answer is valid."""
        port = advertised.port or socket.port
        # With a port in the URI, only A and AAAA records are looked up (RFC 3263 4.2).
        params = {"transport": str(socket.transport)}
        found, valid_s = await self._resolver.everywhere(
            Uri("sip", "", advertised.host, port, params)
        )
        ips = [hop.ip_text for hop in found if can_show(socket, hop.ip)]
        before = self._resolved.get(socket)
        if ips and (before is None or before[0] not in ips):
            self._resolved[socket] = ips[0], port
        return valid_s


def _names(sockets: EdgeSockets) -> Iterator[tuple[TransportAddress, Advertised]]:
    for socket, advertised in sockets.advertised:
        if advertised.host != AUTO and sockets.follows_nat(socket):
            yield socket, advertised
