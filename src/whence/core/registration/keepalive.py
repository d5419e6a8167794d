"""Keep-alives: periodic OPTIONS to the server that granted, and their results.

Any status counts as an answer: many registrars send 404, 405 or 501 to an OPTIONS. After `MISSES`
unanswered OPTIONS in a row the refresh is due at once: a REGISTER finds the next server. This
happens once until the server answers again, since some servers grant but never answer OPTIONS.

If the operator chose no interval, a trunk over TCP or TLS has a default one. It keeps the
connection of the registration open. Unanswered OPTIONS of the default change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from whence.core.registration.model import Account
from whence.core.sip.transport_address import Transport, TransportAddress

MISSES = 3

STREAM_INTERVAL_S = 110.0
"""The default interval over TCP and TLS.

A client sends at intervals of 96 to 120 s if the server names none (RFC 5626 4.4.1). Firewalls and
load balancers remove idle connections after four minutes or more, so one OPTIONS may be lost.
"""


@dataclass(frozen=True, slots=True)
class KeepAliveTarget:
    """Where an OPTIONS is sent: as the last REGISTER to the server that granted."""

    account: Account
    next_hop: TransportAddress
    socket: TransportAddress


@dataclass(frozen=True, slots=True)
class OptionsReply:
    """An answer to an OPTIONS, and its source address."""

    status: int
    source: TransportAddress


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """The results of the OPTIONS to one server. Instants are seconds since the epoch."""

    next_at: float
    """When the next one is due."""
    missed: int = 0
    """How many in a row are unanswered."""
    answered_at: float | None = None
    last_status: int | None = None
    """Of the last answer."""


def interval_s(chosen_s: float | None, next_hop: TransportAddress) -> float:
    """Return the interval of keep-alives; 0 for none. `chosen_s`: by the operator, or None."""
    if chosen_s is not None:
        return chosen_s
    return 0.0 if next_hop.transport is Transport.UDP else STREAM_INTERVAL_S


def first(now: float, interval_s: float, chance: float) -> KeepAlive:
    """Schedule the first OPTIONS at a random instant, so not all trunks send at once."""
    return KeepAlive(now + interval_s * chance)


def answered(keepalive: KeepAlive, status: int, now: float, interval_s: float) -> KeepAlive:
    """Record an answer, of any status."""
    return replace(
        keepalive, next_at=now + interval_s, missed=0, answered_at=now, last_status=status
    )


def skipped(keepalive: KeepAlive, now: float, interval_s: float) -> KeepAlive:
    """Send no OPTIONS this time: a REGISTER is in flight, and gives more information."""
    return replace(keepalive, next_at=now + interval_s)


def shifted(keepalive: KeepAlive, step_s: float) -> KeepAlive:
    """Move all instants by a step of the system clock."""
    answered_at = None if keepalive.answered_at is None else keepalive.answered_at + step_s
    return replace(keepalive, next_at=keepalive.next_at + step_s, answered_at=answered_at)


def unanswered(keepalive: KeepAlive, now: float, interval_s: float) -> tuple[KeepAlive, bool]:
    """Record that no answer was received; also return whether the refresh is due now."""
    missed = keepalive.missed + 1
    return replace(keepalive, next_at=now + interval_s, missed=missed), missed == MISSES
