"""The kinds of alarms, and the limits on how many alarms the agent raises.

An alarm of a lasting condition is open until its all-clear. Its kind and trunk identify it. An
alarm of any other kind reports an event, and has no all-clear.

The limiter passes the first alarm of a kind and trunk at once. Further ones of the same kind and
trunk wait for `EACH_S` seconds. In that time, at most `KIND_LIMIT` alarms of one kind pass, over
all trunks. The limiter counts the suppressed alarms, and gives the count when the time is over.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from whence.core.registration.history import EventKind, HistoryEvent


class AlarmKind(StrEnum):
    """The code of an alarm."""

    REGISTRAR_CHANGED = "registrar_changed"
    REGISTRAR_NOT_IN_DNS = "registrar_not_in_dns"
    REGISTRATION_EXPIRED = "registration_expired"
    TOKEN_FROM_WRONG_SOURCE = "token_from_wrong_source"
    NUMBER_OF_ANOTHER_TRUNK = "number_of_another_trunk"
    MANY_UNKNOWN_REQUESTS = "many_unknown_requests"
    CONFLICT = "conflict"
    PASSWORD_GUESSED = "phone_password_guessed"
    UNEXPECTED_REPLY = "reply_from_unexpected_address"
    AUTH_FAILED = "auth_failed"
    REGISTRATION_REJECTED = "registration_rejected"
    REGISTRAR_UNREACHABLE = "registrar_unreachable"
    KAMAILIO_RESTARTED = "kamailio_restarted"
    DIRECTORY_UNWRITABLE = "directory_unwritable"
    DISK_FULL = "disk_full"
    MEDIA_UNAVAILABLE = "media_unavailable"
    CLOCK_STEPPED = "clock_stepped"
    CALL_LIMIT_REACHED = "call_limit_reached"
    CHALLENGE_FROM_ELSEWHERE = "challenge_from_elsewhere"
    CALL_CREDENTIALS_REJECTED = "call_credentials_rejected"
    ALL_TRUNKS_FAILED = "all_trunks_failed"
    API_ENTRY_LEFT_OUT = "api_entry_left_out"


TRUNK_CONDITIONS = frozenset(
    {
        AlarmKind.AUTH_FAILED,
        AlarmKind.REGISTRATION_REJECTED,
        AlarmKind.REGISTRAR_UNREACHABLE,
        AlarmKind.REGISTRATION_EXPIRED,
    }
)
"""The kinds of a trunk that is not registered. They end when it is registered again."""

CONDITIONS = TRUNK_CONDITIONS | {
    AlarmKind.CONFLICT,
    AlarmKind.DIRECTORY_UNWRITABLE,
    AlarmKind.DISK_FULL,
    AlarmKind.API_ENTRY_LEFT_OUT,
}
"""The kinds of a lasting condition. An alarm of them is open until its all-clear."""


OF_HISTORY = {
    EventKind.REGISTRAR_CHANGED: AlarmKind.REGISTRAR_CHANGED,
    EventKind.EXPIRED: AlarmKind.REGISTRATION_EXPIRED,
    EventKind.UNEXPECTED_REPLY: AlarmKind.UNEXPECTED_REPLY,
}
"""The events of a trunk's history that raise an alarm."""

EACH_S = 60.0
"""For how long the next alarm of the same kind and trunk waits, in seconds."""

KIND_LIMIT = 50
"""How many alarms of one kind pass in that time, over all trunks."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm. `trunk` is None where the alarm concerns no single trunk.

    `left_out` counts the alarms of the same kind and trunk that were suppressed before it.
    """

    kind: AlarmKind
    trunk: str | None
    message: str
    left_out: int = 0


def of_history(trunk_id: str, event: HistoryEvent) -> Alarm | None:
    """Return the alarm of an event in a trunk's history; None where the event raises none."""
    kind = OF_HISTORY.get(event.what)
    return Alarm(kind, trunk_id, event.message) if kind else None


@dataclass(slots=True)
class _Suppressed:
    """Since when the alarms of one kind and trunk wait, and how many wait."""

    passed_at: float
    left_out: int = 0
    last: Alarm | None = None


@dataclass
class AlarmLimiter:
    """Passes alarms within the limits, and counts the others. `due` returns the counts."""

    each_s: float = EACH_S
    kind_limit: int = KIND_LIMIT
    _suppressed: dict[tuple[AlarmKind, str | None], _Suppressed] = field(default_factory=dict)
    _kinds: dict[AlarmKind, tuple[float, int]] = field(default_factory=dict)
    """Kind → (when its window began, how many alarms passed in it)."""
    _others: dict[AlarmKind, tuple[float, int]] = field(default_factory=dict)
    """Kind → (since when, how many) alarms exceeded the limit of the kind."""

    def passes(self, alarm: Alarm, now: float) -> bool:
        """Return whether to raise the alarm now. Count it where not."""
        waiting = self._suppressed.get((alarm.kind, alarm.trunk))
        if waiting is not None and self._lasts(waiting.passed_at, now):
            waiting.left_out += 1
            waiting.last = alarm
            return False
        if not self._has_room(alarm.kind, now):
            self._count_other(alarm.kind, 1, now)
            return False
        self._suppressed[alarm.kind, alarm.trunk] = _Suppressed(now)
        return True

    def due(self, now: float) -> list[Alarm]:
        """Return the suppressed alarms whose window is over, each with its count."""
        alarms = []
        for key, waiting in list(self._suppressed.items()):
            if self._lasts(waiting.passed_at, now):
                continue
            del self._suppressed[key]
            if waiting.last is None:
                continue
            if self._has_room(waiting.last.kind, now):
                alarms.append(replace(waiting.last, left_out=waiting.left_out - 1))
                self._suppressed[key] = _Suppressed(now)
            else:
                self._count_other(waiting.last.kind, waiting.left_out, now)
        for kind, (since_at, count) in list(self._others.items()):
            if not self._lasts(since_at, now):
                alarms.append(Alarm(kind, None, "too many to list each", count))
                del self._others[kind]
        return alarms

    def _lasts(self, begun_at: float, now: float) -> bool:
        # After the clock was set back, a new window begins.
        return begun_at <= now < begun_at + self.each_s

    def _has_room(self, kind: AlarmKind, now: float) -> bool:
        begun_at, passed = self._kinds.get(kind, (now, 0))
        if not self._lasts(begun_at, now):
            begun_at, passed = now, 0
        if passed >= self.kind_limit:
            return False
        self._kinds[kind] = (begun_at, passed + 1)
        return True

    def _count_other(self, kind: AlarmKind, count: int, now: float) -> None:
        since_at, counted = self._others.get(kind, (now, 0))
        self._others[kind] = (since_at, counted + count)
