"""Alarms about users' calls: a limit is reached, a challenge is forged, all trunks fail."""

from __future__ import annotations

from collections import OrderedDict

from whence.agent.monitoring.alarms import Alarms
from whence.core.dialogs.arrival import Arrival
from whence.core.monitoring.alarms import Alarm, AlarmKind
from whence.core.monitoring.call_progress import CallEvent, EventKind
from whence.core.outbound.answers import FailureReason
from whence.core.outbound.selection import RefusalReason
from whence.ipc.call_events import CallOut

TRACKED_LIMIT = 1000
"""Calls whose trunks have failed so far, at most; the oldest is forgotten."""

_LIMITS: dict[str, str] = {
    RefusalReason.CONCURRENT_CALLS: "concurrent_calls",
    RefusalReason.CALLS_PER_MINUTE: "calls_per_minute",
    RefusalReason.NUMBER_NOT_ALLOWED: "prefixes",
}
"""Why a call was refused → the key in `limits` of its user."""

_OF_TRUNK: dict[str, tuple[AlarmKind, str]] = {
    FailureReason.CHALLENGE_FROM_ELSEWHERE: (
        AlarmKind.CHALLENGE_FROM_ELSEWHERE,
        "a call was challenged from an address that is not the trunk's: somebody may want a digest "
        "of its password; the edge sent none",
    ),
    FailureReason.CREDENTIALS_REJECTED: (
        AlarmKind.CALL_CREDENTIALS_REJECTED,
        "the provider rejected the credentials of a call, which its registrar accepts; ask the "
        "provider whether the account may call",
    ),
}


class CallAlarms:
    """Raises alarms for reports of users' calls."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms
        self._failing: OrderedDict[Arrival, list[str]] = OrderedDict()
        """The calls that no trunk has carried yet, with those that failed."""

    def receive_call_out(self, call: CallOut, _record: bytes) -> None:
        """Raise an alarm for a call that reached a limit, or that no trunk can carry."""
        limit = _LIMITS.get(call.refusal)
        if limit is not None:
            message = (
                f'user "{call.user}" reached {limit} of its limits; its call to {call.called} was '
                f"refused with {call.status}"
            )
            self._alarms.raise_alarm(Alarm(AlarmKind.CALL_LIMIT_REACHED, None, message))
        elif call.refusal == RefusalReason.NO_TRUNK_READY:
            message = (
                f'no trunk of user "{call.user}" can carry a call to {call.called}: none is '
                "registered, or all have reached their limits; see whence trunks"
            )
            self._alarms.raise_alarm(Alarm(AlarmKind.ALL_TRUNKS_FAILED, None, message))

    def receive_event(self, event: CallEvent) -> None:
        """Raise an alarm for a trunk that failed, and for a call that all trunks failed."""
        if event.kind is EventKind.TRIED and event.reason:
            failed = self._failing.setdefault(event.arrival, [])
            failed.append(f"{event.trunk} ({event.reason})")
            if len(self._failing) > TRACKED_LIMIT:
                self._failing.popitem(last=False)
            found = _OF_TRUNK.get(event.reason)
            if found is not None:
                kind, message = found
                self._alarms.raise_alarm(Alarm(kind, event.trunk, message))
            return
        failed = self._failing.pop(event.arrival, [])
        if failed and event.kind is EventKind.FAILED:
            message = f"no trunk carried a user's call: {', '.join(failed)}; see whence calls"
            self._alarms.raise_alarm(Alarm(AlarmKind.ALL_TRUNKS_FAILED, None, message))

    def turn_ended(self) -> None:
        """Do nothing: each alarm is raised at once."""
