"""A DNS client with a cache.

Its rules:
- One query at a time for each name and type, for any number of callers.
- An answer is valid for its TTL, within bounds; a negative answer for half a minute at most.
- If no name server answers, the last answer is valid for one more day (RFC 8767): see
  docs/decisions/0007-serve-stale-names.md.
- No answer can exceed the bounds of time, memory, sockets and records.
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
import dns.message
import dns.name
import dns.nameserver
import dns.rcode
import dns.resolver
from dns.rdata import Rdata

log = logging.getLogger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")

TRY_S = 1.0
"""The timeout of one query to one name server; then the next one, or the same, is tried."""

QUERY_S = 3.0
"""The timeout for all name servers together."""

FAILURE_S = 10.0
"""How long a failed query is not repeated (RFC 9520 3.2: 1 s to 5 min)."""

TTL_LEAST_S = 5.0
"""With a TTL of 0 each trunk of a provider would send its own query."""

TTL_MOST_S = 86_400.0
NEGATIVE_MOST_S = 30.0
"""A record that was just added must not stay unknown for hours."""

STALE_S = 86_400.0
"""How long after its TTL an answer is used while no name server answers."""

STALE_AFTER_S = 0.5
"""How long a query may take before the stale answer is used (RFC 8767 5). A grant of 30 s is
refreshed only a few seconds before its end."""

QUERIES_LIMIT = 128
"""Queries in flight at once: each has a socket, and dnsmasq refuses more than 150."""

SLOW_LIMIT = 16
"""Extra queries in flight for keys that failed last time, so they delay no others."""

NAMES_LIMIT = 4096
"""The size of the cache; the least recently used answer is removed first."""

RECORDS_LIMIT = 64
"""How many records of one answer are used."""

Kind = Literal["A", "AAAA", "SRV", "NAPTR"]
_Key = tuple[str, Kind]


@dataclass(frozen=True, slots=True)
class _Cached:
    """The last answer. `records`: None if no name server ever answered. Instants of the clock."""

    records: tuple[Rdata, ...] | None
    fresh_until: float
    stale_until: float


class DnsCache:
    """Looks up DNS records, from the cache while they are valid.

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
        self._cached: OrderedDict[_Key, _Cached] = OrderedDict()
        self._queries: dict[_Key, asyncio.Task[_Cached]] = {}
        self._failed_keys: dict[_Key, str] = {}
        """The keys whose last query failed → the error code of the answer; empty without one."""
        self._free = asyncio.Semaphore(QUERIES_LIMIT)
        self._slow_free = asyncio.Semaphore(SLOW_LIMIT)

    async def find(self, name: str, kind: Kind) -> tuple[Rdata, ...] | None:
        """Return the records, with CNAMEs followed; () if there are none; None after a failure."""
        key = (name, kind)
        cached = self._cached.get(key)
        now = self._clock()
        if cached is not None and now < cached.fresh_until:
            self._cached.move_to_end(key)
            return cached.records
        query = self._query(key)
        if cached is not None and cached.records is not None and now < cached.stale_until:
            done, _ = await asyncio.wait({query}, timeout=STALE_AFTER_S)
            if not done:
                return cached.records
        return (await query).records

    def good_for_s(self, name: str, kind: Kind) -> float:
        """Return for how many seconds the last answer is still valid; a stale one only briefly."""
        cached = self._cached.get((name, kind))
        return max(0.0, cached.fresh_until - self._clock()) if cached else 0.0

    def error_code(self, name: str, kind: Kind) -> str:
        """Return the error code of the last answer, as SERVFAIL; empty without such an answer."""
        return self._failed_keys.get((name, kind), "")

    def failure(self, host: str) -> str:
        """Return how the last query for this host, or a service of it, failed; empty if none did.

        A name server that does not answer counts before one that answers with an error.
        """
        codes = {
            code
            for (name, _), code in self._failed_keys.items()
            if name == host or name.endswith("." + host)
        }
        if not codes:
            return ""
        return "does not answer" if "" in codes else f"answers {min(codes)}"

    def _query(self, key: _Key) -> asyncio.Future[_Cached]:
        task = self._queries.get(key)
        if task is None:
            task = self._queries[key] = asyncio.create_task(self._send(key))
            task.add_done_callback(lambda _: self._queries.pop(key))
        return asyncio.shield(task)  # a cancelled caller does not cancel the query of the others

    async def _send(self, key: _Key) -> _Cached:
        async with self._slow_free if key in self._failed_keys else self._free:
            try:
                cached = self._answered(*await self._servers.query(*key))
            except (dns.exception.DNSException, OSError) as error:
                cached = self._unanswered(key, error)
            else:
                self._log_recovery(key)
        self._cached[key] = cached
        self._cached.move_to_end(key)
        if len(self._cached) > NAMES_LIMIT:
            gone, _ = self._cached.popitem(last=False)
            self._failed_keys.pop(gone, None)
        return cached

    def _answered(self, records: tuple[Rdata, ...], ttl_s: float) -> _Cached:
        most_s = TTL_MOST_S if records else NEGATIVE_MOST_S
        fresh_until = self._clock() + max(TTL_LEAST_S, min(ttl_s, most_s))
        return _Cached(records[:RECORDS_LIMIT], fresh_until, fresh_until + STALE_S)

    def _unanswered(self, key: _Key, error: Exception) -> _Cached:
        now = self._clock()
        cached = self._cached.get(key)
        if cached is None or now >= cached.stale_until:
            cached = _Cached(None, now, now)
        self._log_failure(key, error, cached)
        return replace(cached, fresh_until=now + FAILURE_S)

    def _log_failure(self, key: _Key, error: Exception, cached: _Cached) -> None:
        name, kind = key
        if not self._is_logged(name):
            effect = "no earlier answer" if cached.records is None else "its last answer is used"
            code = _error_code(error)
            failure = f"answers {code}" if code else "does not answer"
            log.warning("DNS %s for %s (%s), %s: %s", failure, name, kind, effect, error)
        self._failed_keys[key] = _error_code(error)

    def _log_recovery(self, key: _Key) -> None:
        if key in self._failed_keys:
            del self._failed_keys[key]
            if not self._is_logged(key[0]):
                log.info("DNS answers again for %s", key[0])

    def _is_logged(self, name: str) -> bool:
        return any(failed == name for failed, _ in self._failed_keys)


class _Servers:
    """The current name servers."""

    def __init__(self, nameserver: tuple[str, int] | None, resolv_conf: Path) -> None:
        self._resolv_conf = None if nameserver else resolv_conf
        self._read: tuple[int, int, int] | None = None
        self._resolver = _resolver(*(nameserver or ("127.0.0.1", 53)))

    async def query(self, name: str, kind: Kind) -> tuple[tuple[Rdata, ...], float]:
        """Return (records, TTL in seconds). Raises: DNSException or OSError without an answer."""
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
        """Read resolv.conf if it has changed. A broken file changes nothing."""
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


def _error_code(error: Exception) -> str:
    """Return the error code that a name server answered; empty if none answered."""
    kwargs = getattr(error, "kwargs", {})
    for *_, response in kwargs.get("errors", ()):
        if isinstance(response, dns.message.Message) and response.rcode() != dns.rcode.NOERROR:
            return dns.rcode.to_text(response.rcode())
    return ""


def _resolver(ip: str, port: int) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [dns.nameserver.Do53Nameserver(ip, port)]
    resolver.timeout = TRY_S
    return resolver
