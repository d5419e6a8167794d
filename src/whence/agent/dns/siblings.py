"""The other addresses of a registrar's name in DNS, kept in step with DNS and with registrations.

Each name is looked up once for all trunks that have it. What is found stands in the directory as
`resolved` addresses of each trunk that is registered, until the answer ends, or the grant.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from itertools import islice
from typing import Protocol

from whence.agent.runtime.due_queue import DueQueue
from whence.agent.runtime.tasks import Tasks
from whence.core.identification.address import Address
from whence.core.identification.dns_siblings import LIMIT, SiblingSettings, siblings
from whence.core.registration.model import Registration
from whence.core.settings import TrunkSettings
from whence.core.sip.transport_address import IP, Network, TransportAddress
from whence.core.sip.uri import Uri
from whence.errors import StoreError
from whence.store.directory import Directory

log = logging.getLogger(__name__)

SLACK_S = 30.0
"""How long a sibling outlives the answer that named it: the next one may be late."""

AGAIN_S = 10.0
"""When a name is looked up again of which nothing was found."""

BATCH = 100
"""Trunks written in one transaction: the loop is not held up for long."""

PATIENCE_S = 5.0
"""When writing is tried again after it failed."""


class HostResolver(Protocol):
    """Who says where a server is: the neighbour DNS."""

    async def everywhere(self, server: Uri) -> tuple[tuple[TransportAddress, ...], float]:
        """All its next hops, and for how many seconds that is good."""


class DnsObserver(Protocol):
    """Acts on what DNS says of trunks. Called in the loop; it must not wait, nor raise."""

    def not_in_dns(self, trunk_id: str, registrar: TransportAddress, servers: str) -> None:
        """A trunk was granted by an address that DNS does not name for its `servers`."""


@dataclass(slots=True, eq=False)
class _Name:
    """A server's name, and what DNS said of it last."""

    server: Uri
    trunks: set[str] = field(default_factory=set)
    found: tuple[TransportAddress, ...] = ()
    good_until: float = 0.0
    waiting: set[str] = field(default_factory=set)
    """Trunks that registered at another server than before: what DNS says now counts for them."""


@dataclass(slots=True)
class _Followed:
    """A registered trunk whose siblings count."""

    names: tuple[str, ...]
    exact: bool
    registrar: TransportAddress
    ends_at: float
    """When the grant ends, grace included."""


class SiblingService:
    """Keeps resolved addresses in the directory. `run` it; it watches registrations."""

    def __init__(
        self,
        directory: Directory,
        resolver: HostResolver,
        settings: SiblingSettings,
        clock: Callable[[], float] = time.time,
        *,
        observers: Sequence[DnsObserver] = (),
    ) -> None:
        self._observers = observers
        self._unnamed: dict[str, IP] = {}
        """Trunk → the address that was told to be not in DNS: each is told once."""
        self._directory = directory
        self._resolver = resolver
        self._clock = clock
        self._settings = settings
        self._names: dict[str, _Name] = {}
        self._followed: dict[str, _Followed] = {}
        self._unwritten: dict[str, None] = {}
        """Trunks whose siblings are to be written, the first to be so first."""
        self._looks = DueQueue[_Name](clock)
        """When each name is looked up next; a name whose look-up is under way is not in it."""
        self._tasks = Tasks("looking for siblings")

    # What it hears of registrations and of new files; called in the loop.

    def changed(self, trunk: TrunkSettings, registration: Registration) -> None:
        """See whether the trunk is registered, and where."""
        r, now = registration, self._clock()
        names = _names(trunk)
        # Only a grant that taught an address has siblings, and no longer than it lasts: what others
        # answer to a REGISTER admits nobody.
        if not names or not r.stands(now) or r.registrar is None or r.learned_until is None:
            self.gone(trunk.id)
            return
        ends_at = r.learned_until + self._settings.grace_s
        followed = _Followed(names, trunk.match_port, r.registrar, ends_at)
        before = self._followed.get(trunk.id)
        if before == followed:
            return
        if before is not None and before.names != names:
            self.gone(trunk.id)
        self._follow(trunk.id, followed)
        if before is not None and before.registrar.ip != followed.registrar.ip:
            for name in (self._names[text] for text in names):
                name.waiting.add(trunk.id)
                look_at = self._looks.at(name)
                if look_at is not None and now < look_at:
                    self._looks.schedule(name, now)
        else:
            self._write_later([trunk.id])

    def _follow(self, trunk_id: str, followed: _Followed) -> None:
        self._followed[trunk_id] = followed
        for text in followed.names:
            name = self._names.get(text)
            if name is None:
                server = Uri.parse(text)
                if server is None:  # the settings' validators have seen to that
                    raise ValueError(text)
                name = self._names[text] = _Name(server)
                self._looks.schedule(name, self._clock())
            name.trunks.add(trunk_id)

    def gone(self, trunk_id: str) -> None:
        """Follow it no more. Its siblings end with its grant, or as soon as it is unregistered."""
        followed = self._followed.pop(trunk_id, None)
        self._unwritten.pop(trunk_id, None)
        self._unnamed.pop(trunk_id, None)
        for text in followed.names if followed else ():
            name = self._names[text]
            name.trunks.discard(trunk_id)
            name.waiting.discard(trunk_id)
            if not name.trunks:
                del self._names[text]
                self._looks.cancel(name)

    def apply(self, trunks: Iterable[TrunkSettings]) -> None:
        """Follow DNS for these trunks as they are set now, after the registrations have changed.

        Resolved addresses that a trunk follows no more end at once.
        """
        for trunk in trunks:
            followed = self._followed.get(trunk.id)
            names, exact = _names(trunk), trunk.match_port
            if followed is None:
                if not names:
                    self._directory.drop_resolved(trunk.id)
                continue
            if (followed.names, followed.exact) == (names, exact):
                continue
            registrar, ends_at = followed.registrar, followed.ends_at
            self.gone(trunk.id)
            self._directory.drop_resolved(trunk.id)
            if names:
                self._follow(trunk.id, _Followed(names, exact, registrar, ends_at))
                self._write_later([trunk.id])

    def _write_later(self, trunk_ids: Iterable[str]) -> None:
        self._unwritten.update(dict.fromkeys(trunk_ids))
        self._looks.wake()

    # Its own life.

    async def run(self) -> None:
        """Keep siblings in step until cancelled."""
        while True:
            for name in self._looks.due(self._clock()):
                self._tasks.start(self._look(name))
            until = None
            if self._unwritten:
                until = self._clock() + (0.0 if self._write() else PATIENCE_S)
            await self._looks.wait(until)

    async def _look(self, name: _Name) -> None:
        next_at = self._clock() + AGAIN_S
        name.waiting, waiting = set(), name.waiting
        try:
            found, good_for_s = await self._resolver.everywhere(name.server)
            now = self._clock()
            if found and now < name.good_until and set(found) == set(name.found):
                next_at = name.good_until  # it was asked before its time
                self._write_later(waiting & self._followed.keys())
            elif found:
                least_s, most_s = self._settings.least_s, self._settings.most_s
                next_at = now + max(least_s, min(good_for_s, most_s))
                name.found, name.good_until = found, next_at
                self._write_later(name.trunks)
            else:
                name.waiting |= waiting
                return
            if name.waiting:  # they came meanwhile
                next_at = now
        finally:
            if name.trunks:
                self._looks.schedule(name, next_at)

    def _write(self) -> bool:
        """Write the siblings of some trunks; False where the directory cannot be written."""
        now = self._clock()
        batch = list(islice(self._unwritten, BATCH))
        rows = [
            (trunk_id, address)
            for trunk_id in batch
            for address in self._siblings(self._followed[trunk_id], now)
        ]
        try:
            if rows:
                self._directory.resolve(rows, now)
        except StoreError as error:
            log.error("%s", error)  # noqa: TRY400 - a neighbour's fault, no bug of ours
            return False
        for trunk_id in batch:
            del self._unwritten[trunk_id]
            self._judge(trunk_id, self._followed[trunk_id])
        return True

    def _judge(self, trunk_id: str, followed: _Followed) -> None:
        """Say where a trunk was granted by an address that none of its names leads to."""
        found = [self._names[text].found for text in followed.names]
        ip = followed.registrar.ip
        if not all(found):
            return  # nobody knows yet
        if any(hop.ip == ip for hops in found for hop in hops):
            self._unnamed.pop(trunk_id, None)
        elif self._unnamed.get(trunk_id) != ip:
            self._unnamed[trunk_id] = ip
            hosts = dict.fromkeys(self._names[text].server.host for text in followed.names)
            for observer in self._observers:
                observer.not_in_dns(trunk_id, followed.registrar, " or ".join(hosts))

    def _siblings(self, followed: _Followed, now: float) -> list[Address]:
        """Those of all its names; of one that two of them name, the later end counts."""
        of: dict[tuple[IP | Network, int | None], Address] = {}
        names = [self._names[text] for text in followed.names]
        for name in sorted(names, key=lambda name: name.good_until):
            ends_at = min(name.good_until + SLACK_S, followed.ends_at)
            found = siblings(
                name.found,
                followed.registrar,
                self._settings.own,
                exact=followed.exact,
                now=now,
                expires_at=ends_at,
            )
            of.update({(address.ip, address.port): address for address in found})
        return [address for address in of.values() if address.live(now)][:LIMIT]


def _names(trunk: TrunkSettings) -> tuple[str, ...]:
    """The servers of a trunk that DNS is asked about; none where it is not to be followed."""
    if not (trunk.follow_dns and trunk.enabled):
        return ()
    servers = dict.fromkeys(text for text in (trunk.registrar, trunk.proxy) if text)
    return tuple(text for text in servers if not _is_literal(text))


@lru_cache(maxsize=4096)
def _is_literal(server: str) -> bool:
    uri = Uri.parse(server)
    try:
        ip_address(uri.host if uri else "")
    except ValueError:
        return False
    return True
