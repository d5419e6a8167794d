"""A table of the sources that no address admits. Forged sources do not make it grow.

The table has two parts. A source that sends its first request is a *newcomer*; a newer newcomer
replaces the oldest. A newcomer that sends another request moves to the *returned* sources. There
it replaces the source with the fewest requests, if it has sent at least as many itself.

So a flood of packets, each from another forged address, changes nothing among the returned
sources. Their counts are exact. (The usual algorithm, Space-Saving, gives a newcomer the count of
the source that it replaces. In a flood, it soon evicts a source that rarely sends.)
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import count
from typing import Final, Literal

from whence.core.identification.decision import Reason
from whence.core.sip.transport_address import TransportAddress

LONGEST_S = 30 * 86_400
"""The longest time for which an operator may allow a source; longer ones belong into the file."""

REQUEST_URIS_LIMIT = 5
"""How many different Request-URIs of one unknown source are kept: the last ones."""

REQUEST_URI_LENGTH = 100

REASONS_LIMIT = 6
"""How many reasons of one unknown source are kept: more than there are codes."""

UNKNOWN_ADDRESS: Final = Reason.UNKNOWN_ADDRESS
"""The reason of a source that sent a request, and that no address admits."""


class NoticeReason(StrEnum):
    """The code of a notice."""

    UNREADABLE = "unreadable_message"
    FLOOD = "flood"
    PASSWORD = "wrong_password"
    CONNECTIONS = "too_many_connections"


Why = Literal[Reason.UNKNOWN_ADDRESS] | NoticeReason
"""The codes that say why an unknown source is listed."""

_WORDS: dict[Why, str] = {
    UNKNOWN_ADDRESS: UNKNOWN_ADDRESS.message,
    NoticeReason.UNREADABLE: "unreadable message",
    NoticeReason.FLOOD: "flood",
    NoticeReason.PASSWORD: "wrong password",
    NoticeReason.CONNECTIONS: "too many connections",
}

FORGOTTEN_AFTER_S = 7 * 86_400.0
"""After so many seconds without a request, an unknown source is removed."""

SWEEP_S = 3_600.0


@dataclass(frozen=True, slots=True)
class UnknownSource:
    """One ip that no address admits. `source` is the source of its last request."""

    source: TransportAddress
    requests: int
    since: float
    last_at: float
    request_uris: tuple[str, ...]
    """The Request-URIs of its last requests, the newest first."""
    reasons: tuple[Why, ...] = ()
    """Why it is listed, the newest first."""

    @property
    def message(self) -> str:
        """Return in words why it is listed."""
        return ", ".join(_WORDS[reason] for reason in self.reasons)

    def again(
        self,
        source: TransportAddress,
        ruri: str,
        now: float,
        reason: Why = UNKNOWN_ADDRESS,
        count: int = 1,
    ) -> UnknownSource:
        """Return it after `count` more requests. `ruri` is empty where none could be read."""
        request_uris = self.request_uris
        if ruri:
            newest = ruri[:REQUEST_URI_LENGTH]
            older = (uri for uri in request_uris if uri != newest)
            request_uris = (newest, *older)[:REQUEST_URIS_LIMIT]
        reasons = (reason, *(one for one in self.reasons if one != reason))[:REASONS_LIMIT]
        return replace(
            self,
            source=source,
            requests=self.requests + count,
            last_at=now,
            request_uris=request_uris,
            reasons=reasons,
        )


@dataclass
class UnknownSourceTable:
    """At most `limit` returned sources, and as many newcomers."""

    limit: int
    forgotten: int = 0
    """How many sources were evicted."""
    _newcomers: OrderedDict[str, UnknownSource] = field(default_factory=OrderedDict)
    _returned: dict[str, UnknownSource] = field(default_factory=dict)
    _least: list[tuple[int, int, str]] = field(default_factory=list)
    """A heap of (requests, tie-breaker, ip), with one entry for each returned source.

    The requests of an entry may be fewer than those of its source by now."""
    _ties: Iterator[int] = field(default_factory=count)
    _swept_at: float = 0.0

    def saw(
        self,
        source: TransportAddress,
        ruri: str,
        now: float,
        reason: Why = UNKNOWN_ADDRESS,
        count: int = 1,
    ) -> None:
        """Count `count` requests. `ruri` is empty where none could be read."""
        if not self.limit:
            return
        if now - self._swept_at > SWEEP_S:
            self._sweep(now)
        ip = str(source.ip)
        if ip in self._returned:
            self._returned[ip] = self._returned[ip].again(source, ruri, now, reason, count)
        elif ip in self._newcomers:
            self._return(ip, self._newcomers.pop(ip).again(source, ruri, now, reason, count))
        else:
            new = UnknownSource(source, 0, now, now, ())
            self._come(ip, new.again(source, ruri, now, reason, count))

    def _come(self, ip: str, unknown_source: UnknownSource) -> None:
        if len(self._newcomers) >= self.limit:
            self._newcomers.popitem(last=False)
            self.forgotten += 1
        self._newcomers[ip] = unknown_source

    def _return(self, ip: str, unknown_source: UnknownSource) -> None:
        if len(self._returned) >= self.limit:
            least = self._find_least()
            if unknown_source.requests < self._returned[least].requests:
                self._come(ip, unknown_source)  # it keeps its count there
                return
            heapq.heappop(self._least)
            del self._returned[least]
            self.forgotten += 1
        self._returned[ip] = unknown_source
        heapq.heappush(self._least, (unknown_source.requests, next(self._ties), ip))

    def _find_least(self) -> str:
        """Return the ip with the fewest requests; among equals, the one that returned first."""
        while True:
            requests, tie, ip = self._least[0]
            now = self._returned[ip].requests
            if now == requests:
                return ip
            heapq.heapreplace(self._least, (now, tie, ip))

    def forget(self, ip: str) -> None:
        """Remove a source that is allowed now."""
        self._newcomers.pop(ip, None)
        if self._returned.pop(ip, None) is not None:
            self._put_in_order()

    def _sweep(self, now: float) -> None:
        self._swept_at = now
        for kept in (self._newcomers, self._returned):
            for ip in [ip for ip, s in kept.items() if now - s.last_at > FORGOTTEN_AFTER_S]:
                del kept[ip]
        self._put_in_order()

    def _put_in_order(self) -> None:
        self._least = [(s.requests, next(self._ties), ip) for ip, s in self._returned.items()]
        heapq.heapify(self._least)

    def __iter__(self) -> Iterator[UnknownSource]:
        """Iterate over all sources, the one with most requests first."""
        sources = [*self._returned.values(), *self._newcomers.values()]
        sources.sort(key=lambda s: (s.requests, s.last_at), reverse=True)
        return iter(sources)

    def __len__(self) -> int:
        return len(self._returned) + len(self._newcomers)


@dataclass
class WindowCounter:
    """Counts events in windows of `window_s` seconds. A `limit` of 0 is never exceeded."""

    limit: int
    window_s: float = 60.0
    _begun_at: float = float("-inf")
    _counted: int = 0

    def exceeds(self, now: float) -> bool:
        """Count one event. Return whether it is the first beyond the limit in its window."""
        if not self._begun_at <= now < self._begun_at + self.window_s:
            self._begun_at, self._counted = now, 0
        self._counted += 1
        return bool(self.limit) and self._counted == self.limit + 1
