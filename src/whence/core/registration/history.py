"""What of a registration's life is worth keeping: the history of one trunk.

A refresh that changes nothing is no event. Each failure is one, also the tenth of its kind. What an
event says is what the registration says: states, answers and reasons, never a secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from whence.core.registration.events import (
    Action,
    Expired,
    IgnoreReply,
    KeepAliveFailed,
    MachineEvent,
    RegisterNow,
    Unregister,
)
from whence.core.registration.model import Registration, State
from whence.core.registration.reason import RegistrationReason
from whence.core.sip.transport_address import TransportAddress

LIMIT = 50
"""How many events of one trunk are kept."""


class EventKind(StrEnum):
    """What happened to a trunk: it entered a state, or something else."""

    REGISTERED = "registered"
    WAITING = "waiting"
    AUTH_FAILED = "auth_failed"
    PAUSED = "paused"
    UNREGISTERED = "unregistered"
    REGISTER_REQUESTED = "register_requested"
    SUSPENDED = "suspended"
    KEEPALIVE_FAILED = "keepalive_failed"
    EXPIRED = "expired"
    REGISTRAR_CHANGED = "registrar_changed"
    ALLOWED = "allowed"
    REVOKED = "revoked"
    UNEXPECTED_REPLY = "reply_from_unexpected_address"


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """Something that happened to a trunk. `status`: the answer that it came of, where one did."""

    what: EventKind
    message: str
    """For people: no code reads it."""
    status: int | None = None
    reason: RegistrationReason | None = None
    """Why the registration is in its state, where the event is about that."""


EXPIRED = HistoryEvent(EventKind.EXPIRED, "what was granted ended without a refresh")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a registration stands, as far as a change of it is news."""

    state: State
    reason: RegistrationReason | None
    granted_s: int | None
    """None where it is not registered."""
    by: TransportAddress | None
    """Who granted; None where it is not registered."""
    answer: tuple[int | None, str]
    """The status and reason phrase of the answer that made it wait; (None, "") in other states."""


def standing(registration: Registration) -> Standing | None:
    """Say how a registration stands: what is said again is no news. None while an attempt runs."""
    r = registration
    if r.state.under_way or r.state is State.NEW:
        return None
    is_registered, waits = r.state is State.REGISTERED, r.state is State.WAITING
    return Standing(
        r.state,
        r.reason,
        r.granted_s if is_registered else None,
        (r.unexpected or r.registrar) if is_registered else None,
        (r.last_status, r.last_phrase) if waits else (None, ""),
    )


def sentence(registration: Registration) -> str:
    """Tell people how a registration stands."""
    r = registration
    return f"{r.state}{_by(r)}: {r.message}"


def _by(r: Registration) -> str:
    """Name the server that granted; where it was not asked, the message says who answered."""
    return f" by {r.registrar}" if r.state is State.REGISTERED and r.unexpected is None else ""


def events(
    before: Registration, after: Registration, fact: MachineEvent, last_reported: Standing | None
) -> tuple[HistoryEvent, ...]:
    """Tell what one step is worth keeping. `last_reported`: the `standing` at the last event."""
    found = []
    if isinstance(fact, RegisterNow):
        found.append(HistoryEvent(EventKind.REGISTER_REQUESTED, "to be registered now"))
    elif isinstance(fact, Unregister) and fact.suspended:
        found.append(HistoryEvent(EventKind.SUSPENDED, "unregistered by the operator"))
    elif isinstance(fact, KeepAliveFailed) and before.next_at != after.next_at:
        message = "keep-alives are unanswered: the refresh is brought forward"
        found.append(HistoryEvent(EventKind.KEEPALIVE_FAILED, message))
    elif isinstance(fact, Expired) and before.expires_at != after.expires_at:
        found.append(EXPIRED)
    now = standing(after)
    failed = after.failure is not None and now is not None and standing(before) is None
    if now is not None and (_has_other_registrar(before, after) or now != last_reported or failed):
        found.append(_change(before, after))
    return tuple(found)


def tracked_events(
    before: Registration | None, after: Registration, at: float
) -> tuple[HistoryEvent, ...]:
    """Tell what is worth keeping of a registration that another one keeps: it stood as `before`, if
    it was known, and an answer made it `after`.
    """
    if before is not None and not _has_other_registrar(before, after):
        expired = before.state is State.REGISTERED and not before.granted(at)
        if not expired and not after.failures and standing(before) == standing(after):
            return ()
    return (_change(before, after),)


def _has_other_registrar(before: Registration, after: Registration) -> bool:
    both = before.registrar is not None and after.registrar is not None
    return both and before.registrar != after.registrar


def _change(before: Registration | None, after: Registration) -> HistoryEvent:
    """How it stands now, and where another server granted, that it is another one."""
    if before is not None and _has_other_registrar(before, after):
        message = f"{after.message} by {after.registrar}, before by {before.registrar}"
        return HistoryEvent(EventKind.REGISTRAR_CHANGED, message, after.last_status, after.reason)
    message = f"{after.message}{_by(after)}"
    return HistoryEvent(EventKind(after.state), message, after.last_status, after.reason)


def ignored(
    before: Registration | None, actions: Iterable[Action], status: int | None
) -> tuple[HistoryEvent, ...]:
    """Return what is worth keeping of replies that taught nothing: each address once in a row.

    `status`: of the reply.
    """
    known = before.unexpected if before is not None else None
    return tuple(
        HistoryEvent(
            EventKind.UNEXPECTED_REPLY,
            f"{a.source} answered a REGISTER that went to {a.asked}: no address is learned",
            status,
        )
        for a in actions
        if isinstance(a, IgnoreReply) and (known is None or known.ip != a.source.ip)
    )
