"""The states and events of the machine as a table: the next states, with their actions.

The machine (machine.py) uses more than the state: the grant, the request in flight, `wanted`. So
an event may have several outcomes in one state; the table has all of them. Tests compare the table
with the machine. `make generate` writes it into docs/registration-states.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from whence.core.registration.events import (
    Action,
    Answered,
    Follow,
    ForgetAddresses,
    IgnoreReply,
    Learn,
    MachineEvent,
    Send,
)
from whence.core.registration.model import State

MEANINGS: Mapping[State, str] = {
    State.NEW: "No REGISTER has been sent, or a restart lost the first attempt.",
    State.REGISTERING: "A REGISTER is in flight, for the first time or as a refresh.",
    State.REGISTERED: "The registrar granted the registration. Its refresh is due at `next_at`.",
    State.WAITING: "The last attempt failed. The next one is due at `next_at`.",
    State.AUTH_FAILED: "The registrar rejects the credentials. The next attempt is at `next_at`.",
    State.PAUSED: "The operator paused it: no REGISTER. The grant stays valid until its end.",
    State.UNREGISTERING: "A REGISTER with expires 0 is in flight, or will be sent.",
    State.UNREGISTERED: "The registration is ended, and its learned addresses are removed.",
}


class EventKind(StrEnum):
    """An event of the machine; an answer by the class of its status."""

    DUE = "Due"
    SUCCESS = "Answered 2xx"
    REDIRECTION = "Answered 3xx"
    CHALLENGE = "Answered 401/407"
    INTERVAL_TOO_BRIEF = "Answered 423"
    SERVER_FAILURE = "Answered 408/430/5xx/6xx"
    REFUSAL = "Answered other 4xx"
    UNANSWERED = "Unanswered"
    REDIRECTED = "Redirected"
    UNREGISTER = "Unregister"
    PAUSE = "Pause"
    REGISTER_NOW = "RegisterNow"
    KEEPALIVE_FAILED = "KeepAliveFailed"
    EXPIRED = "Expired"
    CLOCK_STEPPED = "ClockStepped"
    RESTART = "Restart"
    """No event of `step`: the change that `resumed` makes when the agent starts."""


def kind_of(event: MachineEvent) -> EventKind:
    """Return the row of the table for an event."""
    if isinstance(event, Answered):
        return EventKind(f"Answered {event.reply.status_class}")
    return EventKind(type(event).__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One outcome of an event: the next state, and the classes of the actions in order."""

    state: State
    actions: tuple[type[Action], ...] = ()


@dataclass(frozen=True, slots=True)
class _To:
    """An outcome in a row of the table. `state` None: the state does not change."""

    state: State | None
    actions: tuple[type[Action], ...] = ()


def _to(state: State, *actions: type[Action]) -> _To:
    return _To(state, actions)


def _stays(*actions: type[Action]) -> _To:
    return _To(None, actions)


_UNDER_WAY = (State.REGISTERING, State.UNREGISTERING)
_ASKING = (State.NEW, State.REGISTERED, State.WAITING, State.AUTH_FAILED)
"""A REGISTER is due at `next_at`."""
_IDLE = tuple(state for state in State if state not in _UNDER_WAY)
_ENDS = _to(State.UNREGISTERED, ForgetAddresses)
_WAITS = _to(State.WAITING)
_REGISTERS = _to(State.REGISTERING, Send)
_UNREGISTERS = _to(State.UNREGISTERING, Send)
"""The operator unregistered during the attempt, and an older grant must be unregistered."""

_ROWS: Mapping[EventKind, Sequence[tuple[Sequence[State], Sequence[_To]]]] = {
    EventKind.DUE: (
        (_ASKING, (_REGISTERS, _WAITS)),
        ((State.PAUSED, State.UNREGISTERED, *_UNDER_WAY), (_REGISTERS, _WAITS, _stays())),
    ),
    EventKind.SUCCESS: (
        (_IDLE, (_stays(),)),
        (
            (State.REGISTERING,),
            (
                _to(State.REGISTERED, Learn),
                _to(State.REGISTERED, IgnoreReply),
                _WAITS,
                _UNREGISTERS,
                _ENDS,
                _stays(),
            ),
        ),
        ((State.UNREGISTERING,), (_ENDS, _stays())),
    ),
    EventKind.REDIRECTION: (
        (_IDLE, (_stays(),)),
        (
            (State.REGISTERING,),
            (
                _stays(Follow),
                _stays(IgnoreReply, Send),
                _WAITS,
                _to(State.WAITING, IgnoreReply),
                _UNREGISTERS,
                _ENDS,
                _to(State.UNREGISTERED, IgnoreReply, ForgetAddresses),
                _stays(),
            ),
        ),
        (
            (State.UNREGISTERING,),
            (
                _stays(Follow),
                _stays(IgnoreReply, Send),
                _ENDS,
                _to(State.UNREGISTERED, IgnoreReply, ForgetAddresses),
                _stays(),
            ),
        ),
    ),
    EventKind.CHALLENGE: (
        (_IDLE, (_stays(),)),
        (
            (State.REGISTERING,),
            (_stays(Send), _to(State.AUTH_FAILED), _WAITS, _UNREGISTERS, _ENDS, _stays()),
        ),
        ((State.UNREGISTERING,), (_stays(Send), _ENDS, _stays())),
    ),
    EventKind.INTERVAL_TOO_BRIEF: (
        (_IDLE, (_stays(),)),
        ((State.REGISTERING,), (_stays(Send), _WAITS, _UNREGISTERS, _ENDS, _stays())),
        ((State.UNREGISTERING,), (_ENDS, _stays())),
    ),
    EventKind.SERVER_FAILURE: (
        (_IDLE, (_stays(),)),
        ((State.REGISTERING,), (_stays(Send), _WAITS, _ENDS, _stays())),
        ((State.UNREGISTERING,), (_ENDS, _stays())),
    ),
    EventKind.REFUSAL: (
        (_IDLE, (_stays(),)),
        ((State.REGISTERING,), (_WAITS, _UNREGISTERS, _ENDS, _stays())),
        ((State.UNREGISTERING,), (_ENDS, _stays())),
    ),
    EventKind.UNANSWERED: (
        (_IDLE, (_stays(),)),
        ((State.REGISTERING,), (_stays(Send), _WAITS, _ENDS, _stays())),
        ((State.UNREGISTERING,), (_stays(Send), _ENDS, _stays())),
    ),
    EventKind.REDIRECTED: (
        (_IDLE, (_stays(),)),
        ((State.REGISTERING,), (_stays(Send), _WAITS, _ENDS, _stays())),
        ((State.UNREGISTERING,), (_stays(Send), _ENDS, _stays())),
    ),
    EventKind.UNREGISTER: (
        (
            (*_ASKING, State.PAUSED, State.UNREGISTERING),
            (
                _to(State.UNREGISTERING, ForgetAddresses, Send),
                _to(State.UNREGISTERING, ForgetAddresses),
                _ENDS,
            ),
        ),
        (
            (State.REGISTERING,),
            (
                _stays(ForgetAddresses),
                _to(State.UNREGISTERING, ForgetAddresses, Send),
                _to(State.UNREGISTERING, ForgetAddresses),
                _ENDS,
            ),
        ),
        ((State.UNREGISTERED,), (_ENDS,)),
    ),
    EventKind.PAUSE: (
        (_IDLE, (_to(State.PAUSED),)),
        (_UNDER_WAY, (_to(State.PAUSED), _stays())),
    ),
    EventKind.REGISTER_NOW: ((tuple(State), (_stays(),)),),
    EventKind.KEEPALIVE_FAILED: ((tuple(State), (_stays(),)),),
    EventKind.EXPIRED: ((tuple(State), (_stays(),)),),
    EventKind.CLOCK_STEPPED: ((tuple(State), (_stays(),)),),
    EventKind.RESTART: (
        ((*_ASKING, State.PAUSED), (_stays(),)),
        (
            (State.UNREGISTERED, *_UNDER_WAY),
            (_to(State.NEW), _WAITS, _to(State.AUTH_FAILED), _stays()),
        ),
    ),
}


def _outcomes(state: State, rows: Sequence[tuple[Sequence[State], Sequence[_To]]]) -> Iterator[_To]:
    for states, outcomes in rows:
        if state in states:
            yield from outcomes


TRANSITIONS: Mapping[tuple[State, EventKind], frozenset[Outcome]] = {
    (state, kind): frozenset(
        Outcome(state if to.state is None else to.state, to.actions)
        for to in _outcomes(state, _ROWS[kind])
    )
    for kind in EventKind
    for state in State
}
"""(state, event) → every possible outcome."""
