"""One call as the agent keeps it: the decision of the edge, and what became of the call since."""

from __future__ import annotations

import re
from dataclasses import dataclass

from whence.core.identification.decision import Reason
from whence.core.monitoring.call_progress import (
    CallState,
    Direction,
    Outcome,
    Progress,
    outcome_of,
)
from whence.core.sip.uri import Uri
from whence.core.text import escape_untrusted
from whence.ipc import call_events, decisions
from whence.ipc.call_events import CallOut
from whence.ipc.decisions import DecisionKind, DecisionReport

STATUSES: dict[str, int] = {
    Reason.USER_NOT_REGISTERED: 480,
    Reason.NO_SOCKET_FOR_TARGET: 500,
    Reason.METHOD_NOT_ALLOWED: 405,
    Reason.MALFORMED: 400,
    Reason.UNSUPPORTED_SCHEME: 416,
    Reason.UNSUPPORTED_EXTENSION: 420,
    Reason.TOO_MANY_HOPS: 483,
    Reason.NO_DIALOG: 481,
    Reason.DIRECTORY_UNAVAILABLE: 503,
    Reason.INTERNAL_ERROR: 500,
    Reason.SCANNER: 0,
}
"""Reason of a refusal → the status of the edge's answer; 403 for all others."""

REFUSED_STATUS = 403

_SEPARATORS = re.compile(r"[^0-9]")


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call, or another initial request. `progress` None: its end is not reported."""

    decision: DecisionReport | CallOut
    progress: Progress | None = None

    @property
    def at(self) -> float:
        """Return when the request arrived, in seconds since the epoch."""
        return self.decision.at

    @property
    def call_id(self) -> str:
        """Return the Call-ID as it was sent."""
        return self.decision.call_id

    @property
    def direction(self) -> Direction:
        """Return the direction of the call."""
        call = self.decision
        return call.direction if isinstance(call, CallOut) else Direction.IN

    @property
    def trunk(self) -> str | None:
        """Return the trunk of the call: for a call out the one that was tried last."""
        call = self.decision
        if isinstance(call, DecisionReport):
            return call.trunk
        tried = self.progress.tried if self.progress is not None else ()
        return tried[-1].trunk if tried else next(iter(call.planned), None)

    @property
    def is_refused(self) -> bool:
        """Return whether the edge refused the request at once."""
        call = self.decision
        if isinstance(call, CallOut):
            return bool(call.refusal)
        return call.kind is not DecisionKind.IDENTIFIED

    @property
    def status(self) -> int | None:
        """Return the final status of the answer; None where there is none yet, or none is known."""
        call = self.decision
        if self.is_refused:
            if isinstance(call, CallOut):
                return call.status
            return STATUSES.get(call.reason, REFUSED_STATUS) or None
        return (self.progress.status if self.progress is not None else 0) or None

    @property
    def state(self) -> CallState | None:
        """Return the state of the call; None where its end is not reported."""
        if self.is_refused:
            return CallState.FAILED
        return self.progress.state if self.progress is not None else None

    @property
    def outcome(self) -> Outcome | None:
        """Return the outcome of the call; None while it is in progress, or where none is known."""
        if self.is_refused:
            return outcome_of(self.status or REFUSED_STATUS)
        return self.progress.outcome if self.progress is not None else None

    @property
    def users(self) -> frozenset[str]:
        """Return the users of the call: its caller if that is a user, and the users called."""
        call = self.decision
        if isinstance(call, CallOut):
            named = {call.user}
            if call.direction is Direction.LOCAL:
                named.add(call.called.partition("@")[0])
            return frozenset(named)
        return frozenset({_user(call.target)} - {""})

    def has_number(self, digits: str) -> bool:
        """Return whether caller or called have these digits. `digits`: of `digits_of`."""
        call = self.decision
        if isinstance(call, CallOut):
            uris = [call.caller, call.ruri]
            texts = [call.called.partition("@")[0]]
        else:
            called = call.p_called_party_id or ""
            uris, texts = [call.sender.uri, call.ruri, call.to or ""], [called]
        return any(digits in _SEPARATORS.sub("", text) for text in [*map(_user, uris), *texts])


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls to list; None: all.

    `failed`: whether the call failed; a call in progress has not. `active`: whether it is in
    progress. `since`: in seconds since the epoch. `number`: digits of the caller or the called.
    """

    trunk: str | None = None
    user: str | None = None
    number: str | None = None
    failed: bool | None = None
    active: bool | None = None
    since: float | None = None

    def matches(self, call: CallRecord) -> bool:
        """Return whether a call is to be listed."""
        if self.since is not None and call.at < self.since:
            return False
        if self.trunk is not None and call.trunk != self.trunk:
            return False
        if self.user is not None and self.user.partition("@")[0] not in call.users:
            return False
        if self.failed is not None and self.failed != has_failed(call):
            return False
        if self.active is not None and self.active != is_active(call):
            return False
        return self.number is None or call.has_number(digits_of(self.number))


EVERY = CallFilter()


def has_failed(call: CallRecord) -> bool:
    """Return whether a call is over, without an answer or with an unknown end."""
    return call.outcome not in (None, Outcome.ANSWERED)


def is_active(call: CallRecord) -> bool:
    """Return whether a call is in progress."""
    return call.state in (CallState.RINGING, CallState.ANSWERED)


def digits_of(number: str) -> str:
    """Return the digits by which a number is found: without a prefix of zeros."""
    return _SEPARATORS.sub("", number).lstrip("0")


def read(data: bytes, progress: Progress | None) -> CallRecord:
    """Read the record of a call."""
    is_out = call_events.is_call_out(data)
    return CallRecord(call_events.read_call_out(data) if is_out else decisions.read(data), progress)


def as_json(call: CallRecord) -> dict[str, object]:
    """Return a call in the API's names, with its texts escaped."""
    return {**_decision(call), **_progress(call)}


def _decision(call: CallRecord) -> dict[str, object]:
    one = call.decision
    common = {
        "at": call.at,
        "call_id": escape_untrusted(one.call_id),
        "direction": str(call.direction),
        "source": str(one.source),
        "ruri": escape_untrusted(one.ruri),
        "trunk": call.trunk,
    }
    if isinstance(one, CallOut):
        kind = DecisionKind.REFUSED if one.refusal else DecisionKind.IDENTIFIED
        return common | {
            "method": "INVITE",
            "caller": escape_untrusted(one.caller),
            "called": escape_untrusted(one.called),
            "user": one.user,
            "target": None,
            "to": None,
            "p_called_party_id": None,
            "headers": [],
            "decision": str(kind),
            "rule": None,
            "reason": one.refusal or None,
            "message": one.refusal.replace("_", " "),
            "named": list(one.planned),
            "emergency": one.emergency,
            "from_cache": False,
        }
    called = one.p_called_party_id
    return common | {
        "method": escape_untrusted(one.method),
        "caller": escape_untrusted(one.sender.uri) or None,
        "called": escape_untrusted(one.ruri),
        "user": None,
        "target": escape_untrusted(one.target) or None,
        "to": escape_untrusted(one.to) if one.to is not None else None,
        "p_called_party_id": escape_untrusted(called) if called is not None else None,
        "headers": [escape_untrusted(line) for line in one.headers.split("\n") if line],
        "decision": str(one.kind),
        "rule": one.rule,
        "reason": one.reason,
        "message": one.message,
        "named": list(one.named),
        "emergency": False,
        "from_cache": one.from_cache,
    }


def _progress(call: CallRecord) -> dict[str, object]:
    progress = call.progress or Progress()
    return {
        "state": call.state,
        "status": call.status,
        "outcome": call.outcome,
        "failure": progress.reason or None,
        "answered_at": progress.answered_at,
        "answered_by": str(progress.answered_by) if progress.answered_by is not None else None,
        "ended_at": progress.ended_at,
        "duration_s": progress.duration_s,
        "hung_up_by": progress.hung_up_by,
        "tried": [
            {"trunk": one.trunk, "status": one.status or None, "reason": one.reason or None}
            for one in progress.tried
        ],
    }


def _user(uri: str) -> str:
    """Return the user part of a URI; empty where it has none."""
    parsed = Uri.parse(uri)
    return parsed.user or "" if parsed is not None else ""
