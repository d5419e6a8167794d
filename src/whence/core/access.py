"""Who may use the API: roles, callers, and the limit of wrong tokens."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_network

from whence.core.sip.transport_address import canonical_ip


class Role(StrEnum):
    """What a token permits. Each role has the rights of those before it."""

    VIEW = "view"
    """Read everything; no answer has a secret."""
    OPERATE = "operate"
    """Give orders: register, pause, allow a source, reload the file."""
    ADMIN = "admin"
    """Change trunks, users and routes."""

    @property
    def rank(self) -> int:
        """Return a number that is greater for a role with more rights."""
        return list(Role).index(self)

    def permits(self, needed: Role) -> bool:
        """Return whether this role has the rights of `needed`."""
        return self.rank >= needed.rank


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request to the API."""

    name: str
    """The name of the token, or what else identified the caller."""
    role: Role
    token_id: str = ""
    """The public part of the token; empty without one."""


LOCAL = Caller("local", Role.ADMIN)
"""The caller of a request without a token, where none is needed."""


def source_network(source: str) -> str:
    """Return what counts as one source: an ip, or the /64 of an IPv6 address.

    An IPv4 address written as IPv6 is IPv4: a socket for both has all IPv4 clients in one /64.
    Another text is returned as it is.
    """
    try:
        ip = canonical_ip(source)
    except ValueError:
        return source
    return str(ip) if ip.version == 4 else str(ip_network((ip, 64), strict=False))


FREE_FAILURES = 5
"""Wrong tokens from a source before it is locked."""

FIRST_LOCK_S = 60.0
LONGEST_LOCK_S = 3600.0
FORGET_S = 3600.0
"""How long a source is kept after its last wrong token, or the end of its lock."""


@dataclass(slots=True)
class _Source:
    failures: int = 0
    locked_until: float = 0.0
    last_at: float = 0.0


@dataclass(slots=True)
class WrongTokens:
    """Counts the wrong tokens of each source, and locks a source that sends too many.

    At most `limit` sources are kept, the last ones.
    """

    limit: int = 1000
    count: int = 0
    """All wrong tokens."""
    _sources: OrderedDict[str, _Source] = field(default_factory=OrderedDict)

    def locked_for(self, source: str, now: float) -> float:
        """Return for how many seconds a source is still locked; 0: it is not."""
        found = self._sources.get(source)
        return 0.0 if found is None else max(0.0, found.locked_until - now)

    def locked(self, now: float) -> int:
        """Return how many sources are locked."""
        return sum(found.locked_until > now for found in self._sources.values())

    def failed(self, source: str, now: float) -> float:
        """Count a wrong token, and return for how long it locks the source; 0: not yet."""
        self.count += 1
        found = self._sources.pop(source, None)
        if found is None or now - max(found.last_at, found.locked_until) > FORGET_S:
            found = _Source()
        found.failures += 1
        found.last_at = now
        over = found.failures - FREE_FAILURES
        lock_s = min(FIRST_LOCK_S * 2 ** min(over, 16), LONGEST_LOCK_S) if over >= 0 else 0.0
        found.locked_until = now + lock_s
        self._sources[source] = found
        while len(self._sources) > self.limit:
            self._sources.popitem(last=False)
        return lock_s

    def succeeded(self, source: str) -> None:
        """Forget the wrong tokens of a source that sent a right one."""
        self._sources.pop(source, None)
