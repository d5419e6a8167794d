"""Siblings: the other addresses in DNS of the name of a registrar or outbound proxy.

Each name is looked up once for all its trunks. The directory stores the results as `resolved`
addresses of each registered trunk. They end with the DNS answer or with the grant.
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
"""How long a sibling outlives its DNS answer, since the next answer may be late."""

AGAIN_S = 10.0
"""The wait before the next look-up after one without a result."""

BATCH = 100
"""Trunks in one transaction, so that it blocks the event loop only briefly."""

PATIENCE_S = 5.0
"""The wait before the next write after a failed one."""


class HostResolver(Protocol):
    """Looks up the addresses of a server in DNS."""

    async def everywhere(self, server: Uri) -> tuple[tuple[TransportAddress, ...], float]:
        """Return all its next hops, and for how many seconds they are valid."""


class DnsObserver(Protocol):
    """Follows the results of look-ups, in the event loop. It must neither wait nor raise."""

    def not_in_dns(self, trunk_id: str, registrar: TransportAddress, servers: str) -> None:
        """Called if DNS does not name the address that granted for any of the `servers`."""


@dataclass(slots=True, eq=False)
class _Name:
    """A server's name, and its last DNS answer."""

    server: Uri
    trunks: set[str] = field(default_factory=set)
    found: tuple[TransportAddress, ...] = ()
    good_until: float = 0.0
    waiting: set[str] = field(default_factory=set)
    """Trunks that another server granted than before. They need a new DNS answer."""


@dataclass(slots=True)
class _Followed:
    """A registered trunk with siblings."""

    names: tuple[str, ...]
    exact: bool
    registrar: TransportAddress
    ends_at: float
    """When the grant ends, grace included."""


class SiblingService:
    """Keeps resolved addresses in the directory. It observes registrations; `run` it."""

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
        """Trunk → the address for which `not_in_dns` was called last."""
        self._directory = directory
        self._resolver = resolver
        self._clock = clock
        self._settings = settings
        self._names: dict[str, _Name] = {}
        self._followed: dict[str, _Followed] = {}
        self._unwritten: dict[str, None] = {}
        """Trunks whose siblings must be written, in this order."""
        self._lookups = DueQueue[_Name](clock)
        """When each name is looked up next; without those whose look-up is in progress."""
        self._tasks = Tasks("looking for siblings")

    # Calls from the registrations and from a reload.

    def changed(self, trunk: TrunkSettings, registration: Registration) -> None:
        """Follow a trunk that is registered; stop for one that is not."""
        r, now = registration, self._clock()
        names = _names(trunk)
        # Only a grant with a learned address has siblings, until it ends. An unexpected answer to a
        # REGISTER must admit no source.
        if not names or not r.admits(now) or r.registrar is None or r.learned_until is None:
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
                lookup_at = self._lookups.at(name)
                if lookup_at is not None and now < lookup_at:
                    self._lookups.schedule(name, now)
        else:
            self._write_later([trunk.id])

    def _follow(self, trunk_id: str, followed: _Followed) -> None:
        self._followed[trunk_id] = followed
        for text in followed.names:
            name = self._names.get(text)
            if name is None:
                server = Uri.parse(text)
                if server is None:  # the validators of the settings exclude this
                    raise ValueError(text)
                name = self._names[text] = _Name(server)
                self._lookups.schedule(name, self._clock())
            name.trunks.add(trunk_id)

    def gone(self, trunk_id: str) -> None:
        """Stop following a trunk. Its siblings end with its grant, or when it is unregistered."""
        followed = self._followed.pop(trunk_id, None)
        self._unwritten.pop(trunk_id, None)
        self._unnamed.pop(trunk_id, None)
        for text in followed.names if followed else ():
            name = self._names[text]
            name.trunks.discard(trunk_id)
            name.waiting.discard(trunk_id)
            if not name.trunks:
                del self._names[text]
                self._lookups.cancel(name)

    def apply(self, trunks: Iterable[TrunkSettings]) -> None:
        """Apply new settings of these trunks, after the registrations have applied them.

        Resolved addresses of names that a trunk no longer has end at once.
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

    def clock_stepped(self, step_s: float, _offset: object) -> None:
        """Move all instants with the system clock; the directory has moved the addresses."""
        for followed in self._followed.values():
            followed.ends_at += step_s
        for name in self._names.values():
            name.good_until += step_s
            due_at = self._lookups.at(name)
            if due_at is not None:  # else its look-up is in progress
                self._lookups.cancel(name)
                self._lookups.schedule(name, due_at + step_s)
        self._lookups.wake()

    def _write_later(self, trunk_ids: Iterable[str]) -> None:
        self._unwritten.update(dict.fromkeys(trunk_ids))
        self._lookups.wake()

    # Look-ups and writes.

    async def run(self) -> None:
        """Look up names and write siblings until cancelled."""
        while True:
            for name in self._lookups.due(self._clock()):
                self._tasks.start(self._look_up(name))
            until = None
            if self._unwritten:
                until = self._clock() + (0.0 if self._write() else PATIENCE_S)
            await self._lookups.wait(until)

    async def _look_up(self, name: _Name) -> None:
        next_at = self._clock() + AGAIN_S
        name.waiting, waiting = set(), name.waiting
        try:
            found, good_for_s = await self._resolver.everywhere(name.server)
            now = self._clock()
            if found and now < name.good_until and set(found) == set(name.found):
                next_at = name.good_until  # this look-up was early
                self._write_later(waiting & self._followed.keys())
            elif found:
                least_s, most_s = self._settings.least_s, self._settings.most_s
                next_at = now + max(least_s, min(good_for_s, most_s))
                name.found, name.good_until = found, next_at
                self._write_later(name.trunks)
            else:
                name.waiting |= waiting
                return
            if name.waiting:  # added during the look-up
                next_at = now
        finally:
            if name.trunks:
                self._lookups.schedule(name, next_at)

    def _write(self) -> bool:
        """Write the siblings of a batch; return False if the directory cannot be written."""
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
            self._check_registrar(trunk_id, self._followed[trunk_id])
        return True

    def _check_registrar(self, trunk_id: str, followed: _Followed) -> None:
        """Notify the observers if no name of a trunk has the address that granted."""
        found = [self._names[text].found for text in followed.names]
        ip = followed.registrar.ip
        if not all(found):
            return  # a look-up is missing
        if any(hop.ip == ip for hops in found for hop in hops):
            self._unnamed.pop(trunk_id, None)
        elif self._unnamed.get(trunk_id) != ip:
            self._unnamed[trunk_id] = ip
            hosts = dict.fromkeys(self._names[text].server.host for text in followed.names)
            for observer in self._observers:
                observer.not_in_dns(trunk_id, followed.registrar, " or ".join(hosts))

    def _siblings(self, followed: _Followed, now: float) -> list[Address]:
        """Return the siblings of all its names; for one in two names, the later end counts."""
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
    """Return the servers of a trunk to look up; empty if `follow_dns` is off."""
    if not (trunk.follow_dns and trunk.enabled):
        return ()
    return _without_literals(trunk.registrar, trunk.proxy)


@lru_cache(maxsize=1024)  # thousands of trunks share one registrar, and one value
def _without_literals(registrar: str, proxy: str) -> tuple[str, ...]:
    servers = dict.fromkeys(text for text in (registrar, proxy) if text)
    return tuple(text for text in servers if not _is_literal(text))


def _is_literal(server: str) -> bool:
    uri = Uri.parse(server)
    try:
        ip_address(uri.host if uri else "")
    except ValueError:
        return False
    return True
