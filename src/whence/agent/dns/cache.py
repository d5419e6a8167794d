"""The neighbour DNS: what it says of a name.

The rules it keeps:
- Each name is asked for once at a time, however many want to know.
- An answer counts as long as its TTL says, within bounds; that there is none, for half a minute.
- Where nobody answers, what was said before counts for a day more (RFC 8767): see
  docs/decisions/0007-serve-stale-names.md.
- Whatever DNS says, what it costs is bounded: time, memory, sockets, records of one answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.resolver
from dns.rdata import Rdata

log = logging.getLogger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")

TRY_S = 1.0
"""How long one name server has for one answer, before the next one, or the same again, is asked."""

QUERY_S = 3.0
"""How long all name servers together have."""

FAILURE_S = 10.0
"""For how long nobody is asked again after nobody answered (RFC 9520 3.2: 1 s to 5 min)."""

TTL_LEAST_S = 5.0
"""A TTL of 0 would let each trunk of a provider ask anew."""

TTL_MOST_S = 86_400.0
NEGATIVE_MOST_S = 30.0
"""A record that an operator has just added shall not stay unknown for hours."""

STALE_S = 86_400.0
"""How long past its TTL an answer is used while nobody gives another one."""

STALE_AFTER_S = 0.5
"""How long a new answer is waited for where the last one would do (RFC 8767 5): a registration that
was granted for 30 s is refreshed a few seconds before it ends."""

QUERIES_LIMIT = 128
"""Queries under way at once: each has a socket, and dnsmasq refuses more than 150."""

SLOW_LIMIT = 16
"""Queries under way, beside these, for what nobody answered last time: it delays nothing else."""

NAMES_LIMIT = 4096
"""Answers kept; the one not used for longest goes first."""

RECORDS_LIMIT = 64
"""Records kept of one answer."""

Kind = Literal["A", "AAAA", "SRV", "NAPTR"]
_Key = tuple[str, Kind]


@dataclass(frozen=True, slots=True)
class _Known:
    """What was said last. `records`: None where nobody has said anything. Instants of the clock."""

    records: tuple[Rdata, ...] | None
    fresh_until: float
    stale_until: float


class DnsCache:
    """Answers what DNS says of names, from memory where it may.

    `nameserver`: (ip, port); None for those in resolv.conf, which is read again when it changes.
    """

    def __init__(
        self,
        nameserver: tuple[str, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
        resolv_conf: Path = RESOLV_CONF,
    ) -> None:
        self._servers = _Servers(nameserver, resolv_conf)
        self._clock = clock
        self._known: OrderedDict[_Key, _Known] = OrderedDict()
        self._asking: dict[_Key, asyncio.Task[_Known]] = {}
        self._silent: set[_Key] = set()
        """What nobody answered when it was asked for last."""
        self._room = asyncio.Semaphore(QUERIES_LIMIT)
        self._slow_room = asyncio.Semaphore(SLOW_LIMIT)

    async def find(self, name: str, kind: Kind) -> tuple[Rdata, ...] | None:
        """The records, CNAMEs followed; () where there are none; None where nobody answers."""
        key = (name, kind)
        known = self._known.get(key)
        now = self._clock()
        if known is not None and now < known.fresh_until:
            self._known.move_to_end(key)
            return known.records
        asked = self._asked(key)
        if known is not None and known.records is not None and now < known.stale_until:
            done, _ = await asyncio.wait({asked}, timeout=STALE_AFTER_S)
            if not done:
                return known.records
        return (await asked).records

    def good_for_s(self, name: str, kind: Kind) -> float:
        """For how many seconds more the last answer counts; a stale one for a moment only."""
        known = self._known.get((name, kind))
        return max(0.0, known.fresh_until - self._clock()) if known else 0.0

    def is_silent(self, host: str) -> bool:
        """Whether nobody answered for this host, or a service of it, when asked last."""
        return any(name == host or name.endswith("." + host) for name, _ in self._silent)

    def _asked(self, key: _Key) -> asyncio.Future[_Known]:
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key))
            task.add_done_callback(lambda _: self._asking.pop(key))
        return asyncio.shield(task)  # who stops waiting does not stop it for the others

    async def _ask(self, key: _Key) -> _Known:
        async with self._slow_room if key in self._silent else self._room:
            try:
                known = self._answered(*await self._servers.query(*key))
            except (dns.exception.DNSException, OSError) as error:
                known = self._unanswered(key, error)
            else:
                self._tell_answered(key)
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > NAMES_LIMIT:
            gone, _ = self._known.popitem(last=False)
            self._silent.discard(gone)
        return known

    def _answered(self, records: tuple[Rdata, ...], ttl_s: float) -> _Known:
        most_s = TTL_MOST_S if records else NEGATIVE_MOST_S
        fresh_until = self._clock() + max(TTL_LEAST_S, min(ttl_s, most_s))
        return _Known(records[:RECORDS_LIMIT], fresh_until, fresh_until + STALE_S)

    def _unanswered(self, key: _Key, error: Exception) -> _Known:
        now = self._clock()
        known = self._known.get(key)
        if known is None or now >= known.stale_until:
            known = _Known(None, now, now)
        self._tell_silent(key, error, known)
        return replace(known, fresh_until=now + FAILURE_S)

    def _tell_silent(self, key: _Key, error: Exception, known: _Known) -> None:
        name, kind = key
        if not self._is_told(name):
            then = "nothing is known of it" if known.records is None else "its last answer is used"
            log.warning("DNS does not answer for %s (%s), %s: %s", name, kind, then, error)
        self._silent.add(key)

    def _tell_answered(self, key: _Key) -> None:
        if key in self._silent:
            self._silent.discard(key)
            if not self._is_told(key[0]):
                log.info("DNS answers again for %s", key[0])

    def _is_told(self, name: str) -> bool:
        return any(silent == name for silent, _ in self._silent)


class _Servers:
    """The name servers, as they are now."""

    def __init__(self, nameserver: tuple[str, int] | None, resolv_conf: Path) -> None:
        self._resolv_conf = None if nameserver else resolv_conf
        self._read: tuple[int, int, int] | None = None
        self._resolver = _resolver(*(nameserver or ("127.0.0.1", 53)))

    async def query(self, name: str, kind: Kind) -> tuple[tuple[Rdata, ...], float]:
        """(records, their TTL in seconds); DNSException or OSError where nobody answers."""
        self._read_again()
        qname = dns.name.from_text(name)
        try:
            answer = await self._resolver.resolve(
                qname, kind, lifetime=QUERY_S, search=False, raise_on_no_answer=False
            )
        except dns.resolver.NXDOMAIN as none:
            return (), none.response(qname).resolve_chaining().minimum_ttl  # type: ignore[no-untyped-call]
        return tuple(answer), answer.chaining_result.minimum_ttl

    def _read_again(self) -> None:
        """Read resolv.conf where it has changed. A broken one changes nothing."""
        if self._resolv_conf is None:
            return
        try:
            stat = self._resolv_conf.stat()
            version = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if version == self._read:
                return
            self._read = version
            resolver = dns.asyncresolver.Resolver(str(self._resolv_conf))
        except (dns.exception.DNSException, OSError, ValueError) as error:
            log.warning("%s names no name server: %s", self._resolv_conf, error)
            return
        resolver.timeout = TRY_S
        self._resolver = resolver


def _resolver(ip: str, port: int) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [dns.nameserver.Do53Nameserver(ip, port)]
    resolver.timeout = TRY_S
    return resolver
