"""What becomes of a call: its events, its state, its outcome."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from whence.core.dialogs.arrival import Arrival
from whence.core.sip.transport_address import TransportAddress


class Direction(StrEnum):
    """The direction of a call, seen from us."""

    IN = "in"
    """From a trunk, or from a source that may be one."""
    OUT = "out"
    """From a user to a number, through a trunk."""
    LOCAL = "local"
    """From a user to a user."""


class EventKind(StrEnum):
    """The kinds of an event. The value is the first letter of its record."""

    ANSWERED = "A"
    FAILED = "F"
    ENDED = "E"
    TRIED = "T"


class Hangup(StrEnum):
    """The party that ended an answered call."""

    CALLER = "caller"
    CALLEE = "callee"


class CallState(StrEnum):
    """The state of a call."""

    RINGING = "ringing"
    ANSWERED = "answered"
    ENDED = "ended"
    FAILED = "failed"
    LOST = "lost"
    """Its end was not reported."""


OVER = frozenset({CallState.ENDED, CallState.FAILED, CallState.LOST})


class Outcome(StrEnum):
    """What a call led to, once it is over."""

    ANSWERED = "answered"
    BUSY = "busy"
    CANCELLED = "cancelled"
    NO_ANSWER = "no_answer"
    REJECTED = "rejected"
    FAILED = "failed"
    LOST = "lost"


_OUTCOMES = {
    408: Outcome.NO_ANSWER,
    480: Outcome.NO_ANSWER,
    486: Outcome.BUSY,
    487: Outcome.CANCELLED,
    600: Outcome.BUSY,
}


@dataclass(frozen=True, slots=True)
class CallEvent:
    """One event of a call. `at` in seconds since the epoch.

    `status`: the final status of an answer or a failure, or of the try of a trunk; 0: none.
    `source`: who answered. `by`: who ended the call; if None, `from_tag` of the BYE shows it.
    `trunk`: the trunk that was tried. `reason`: why the call failed, or why the next trunk is
    tried, as a code.
    """

    kind: EventKind
    arrival: Arrival
    at: float
    status: int = 0
    source: TransportAddress | None = None
    by: Hangup | None = None
    from_tag: str = ""
    trunk: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """A trunk that was tried for a call out. `status` 0: no answer. `reason`: as in `CallEvent`."""

    trunk: str
    status: int
    reason: str


TRIED_LIMIT = 16
"""The most tries of one call that are kept."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of a call since its decision. Instants are seconds since the epoch."""

    status: int = 0
    """The final status of the INVITE; 0: none yet."""
    answered_at: float | None = None
    answered_by: TransportAddress | None = None
    ended_at: float | None = None
    hung_up_by: Hangup | None = None
    reason: str = ""
    """Why the edge itself failed the call, as a code."""
    is_lost: bool = False
    tried: tuple[Tried, ...] = ()

    @property
    def state(self) -> CallState:
        """Return the state of the call."""
        if self.is_lost:
            return CallState.LOST
        if self.ended_at is not None:
            return CallState.FAILED if self.answered_at is None else CallState.ENDED
        return CallState.RINGING if self.answered_at is None else CallState.ANSWERED

    @property
    def outcome(self) -> Outcome | None:
        """Return what the call led to; None while it is in progress."""
        if self.state not in OVER:
            return None
        return Outcome.LOST if self.is_lost else outcome_of(self.status)

    @property
    def duration_s(self) -> float | None:
        """Return how long the answered call lasted; None where that is not known."""
        if self.answered_at is None or self.ended_at is None or self.is_lost:
            return None
        return max(0.0, self.ended_at - self.answered_at)

    def after(self, event: CallEvent, caller_tag: str) -> Progress:
        """Return the progress after an event. `caller_tag`: the From tag of the INVITE.

        A call is answered once, and is over once: later events of these kinds change nothing.
        """
        if event.kind is EventKind.TRIED:
            tried = (*self.tried, Tried(event.trunk, event.status, event.reason))
            return replace(self, tried=tried[:TRIED_LIMIT])
        if self.ended_at is not None:
            return replace(self, reason=self.reason or event.reason)
        if event.kind is EventKind.ANSWERED:
            if self.answered_at is not None:
                return self
            return replace(
                self, status=event.status, answered_at=event.at, answered_by=event.source
            )
        if event.kind is EventKind.FAILED:
            if self.answered_at is not None:
                return self
            return replace(self, status=event.status, ended_at=event.at, reason=event.reason)
        is_callers = event.from_tag == caller_tag
        by = event.by or (Hangup.CALLER if is_callers else Hangup.CALLEE)
        return replace(self, ended_at=event.at, hung_up_by=by)

    def lost(self, at: float) -> Progress:
        """Return the progress of a call whose end was not reported."""
        return self if self.ended_at is not None else replace(self, ended_at=at, is_lost=True)


def outcome_of(status: int) -> Outcome:
    """Return the outcome of a final status. 0: no answer came."""
    if 200 <= status < 300:
        return Outcome.ANSWERED
    found = _OUTCOMES.get(status)
    if found is not None:
        return found
    if status == 0:
        return Outcome.NO_ANSWER
    return Outcome.FAILED if 500 <= status < 600 else Outcome.REJECTED
