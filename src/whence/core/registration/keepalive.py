"""Keep-alive: does the server that granted still answer? An OPTIONS now and then, and its outcome.

Whatever it answers, it lives: many registrars say 404, 405 or 501 to an OPTIONS. Where `MISSES` in
a row find no answer, the refresh is brought forward: a REGISTER tells for certain, and finds the
next server. That is done once in a silence. A server that grants and yet never answers an OPTIONS
is left in peace.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from whence.core.registration.model import Account
from whence.core.sip.transport_address import TransportAddress

MISSES = 3


@dataclass(frozen=True, slots=True)
class KeepAliveTarget:
    """How the server that granted is reached: as the last REGISTER reached it."""

    account: Account
    next_hop: TransportAddress
    socket: TransportAddress


@dataclass(frozen=True, slots=True)
class OptionsReply:
    """An answer to an OPTIONS, and where it came from."""

    status: int
    source: TransportAddress


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """What the last OPTIONS to one server came to. Instants are seconds since the epoch."""

    next_at: float
    """When the next one is due."""
    missed: int = 0
    """How many in a row found no answer."""
    answered_at: float | None = None
    last_status: int | None = None
    """Of the last answer."""


def first(now: float, interval_s: float, chance: float) -> KeepAlive:
    """Begin at a random moment of the first interval: thousands of trunks must not beat as one."""
    return KeepAlive(now + interval_s * chance)


def answered(keepalive: KeepAlive, status: int, now: float, interval_s: float) -> KeepAlive:
    """It answered, whatever it said."""
    return replace(
        keepalive, next_at=now + interval_s, missed=0, answered_at=now, last_status=status
    )


def skipped(keepalive: KeepAlive, now: float, interval_s: float) -> KeepAlive:
    """Nobody was asked, because a REGISTER is under way: that tells more."""
    return replace(keepalive, next_at=now + interval_s)


def unanswered(keepalive: KeepAlive, now: float, interval_s: float) -> tuple[KeepAlive, bool]:
    """No answer came; also returned: whether the refresh is to be brought forward now."""
    missed = keepalive.missed + 1
    return replace(keepalive, next_at=now + interval_s, missed=missed), missed == MISSES
