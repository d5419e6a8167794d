"""The events in the history of one trunk.

A refresh that changes nothing is no event. Each failure is an event, even if it repeats. An event
contains states, answers and reasons of the registration, never a secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

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
"""How many events the directory keeps of one trunk."""


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
    CLOCK_STEPPED = "clock_stepped"


class HistoryEvent(NamedTuple):
    """An event of a trunk. `status`: of the answer that caused it, if any."""

    what: EventKind
    message: str
    """For people; programs do not read it."""
    status: int | None = None
    reason: RegistrationReason | None = None
    """Why the registration is in its state; None for events of another kind."""


EXPIRED = HistoryEvent(EventKind.EXPIRED, "what was granted ended without a refresh")


class LoggedState(NamedTuple):
    """The parts of a registration whose change is logged and recorded as an event."""

    state: State
    reason: RegistrationReason | None
    granted_s: int | None
    """None where it is not registered."""
    by: TransportAddress | None
    """The server that granted; None where it is not registered."""
    answer: tuple[int | None, str]
    """The status and reason phrase of the answer while it waits; (None, "") in other states."""


def logged_state(registration: Registration) -> LoggedState | None:
    """Return the parts whose change is an event; None while an attempt runs."""
    r = registration
    if r.state.under_way or r.state is State.NEW:
        return None
    is_registered, waits = r.state is State.REGISTERED, r.state is State.WAITING
    return LoggedState(
        r.state,
        r.reason,
        r.granted_s if is_registered else None,
        (r.unexpected or r.registrar) if is_registered else None,
        (r.last_status, r.last_phrase) if waits else (None, ""),
    )


def log_text(registration: Registration) -> str:
    """Return the state and its message as a sentence for the log."""
    r = registration
    return f"{r.state}{_by(r)}: {r.message}"


def _by(r: Registration) -> str:
    """Return " by SERVER" after a grant; the message names an unexpected address itself."""
    return f" by {r.registrar}" if r.state is State.REGISTERED and r.unexpected is None else ""


def events(
    before: Registration,
    after: Registration,
    event: MachineEvent,
    last_logged: LoggedState | None,
) -> tuple[HistoryEvent, ...]:
    """Return the events of one step. `last_logged`: the state that was logged last."""
    found = []
    if isinstance(event, RegisterNow):
        found.append(HistoryEvent(EventKind.REGISTER_REQUESTED, "to be registered now"))
    elif isinstance(event, Unregister) and event.suspended:
        found.append(HistoryEvent(EventKind.SUSPENDED, "unregistered by the operator"))
    elif isinstance(event, KeepAliveFailed) and before.next_at != after.next_at:
        message = "keep-alives are unanswered: the refresh is brought forward"
        found.append(HistoryEvent(EventKind.KEEPALIVE_FAILED, message))
    elif isinstance(event, Expired) and before.expires_at != after.expires_at:
        found.append(EXPIRED)
    now = logged_state(after)
    failed = after.failure is not None and now is not None and logged_state(before) is None
    if now is not None and (_has_other_registrar(before, after) or now != last_logged or failed):
        found.append(_state_event(before, after))
    return tuple(found)


def tracked_events(
    before: Registration | None, after: Registration, at: float
) -> tuple[HistoryEvent, ...]:
    """Return the events of a tracked registration, which an answer changed to `after`.

    `before`: None where this answer is the first. `at`: when it was received.
    """
    if before is not None and not _has_other_registrar(before, after):
        expired = before.state is State.REGISTERED and not before.granted(at)
        if not expired and not after.failures and logged_state(before) == logged_state(after):
            return ()
    return (_state_event(before, after),)


def _has_other_registrar(before: Registration, after: Registration) -> bool:
    both = before.registrar is not None and after.registrar is not None
    return both and before.registrar != after.registrar


def _state_event(before: Registration | None, after: Registration) -> HistoryEvent:
    """Return the event of entering a state, or of a grant by another server than before."""
    if before is not None and _has_other_registrar(before, after):
        message = f"{after.message} by {after.registrar}, before by {before.registrar}"
        return HistoryEvent(EventKind.REGISTRAR_CHANGED, message, after.last_status, after.reason)
    message = f"{after.message}{_by(after)}"
    return HistoryEvent(EventKind(after.state), message, after.last_status, after.reason)


def ignored_replies(
    before: Registration | None, actions: Iterable[Action], status: int | None
) -> tuple[HistoryEvent, ...]:
    """Return an event for each ignored reply; one event for several from the same ip in a row.

    `status`: of the reply.
    """
    last = before.unexpected if before is not None else None
    return tuple(
        HistoryEvent(
            EventKind.UNEXPECTED_REPLY,
            f"{a.source} answered a REGISTER that went to {a.asked}: no address is learned",
            status,
        )
        for a in actions
        if isinstance(a, IgnoreReply) and (last is None or last.ip != a.source.ip)
    )
