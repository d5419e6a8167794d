"""What somebody should hear of at once: the kinds of alarms, and how a storm of one is bounded.

An alarm is told when it comes; after that, of one kind and trunk, for a while none, and of one kind
only so many of whatever trunks. What was left out is counted, and told when the while is over.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from whence.core.registration.history import EventKind, HistoryEvent


class AlarmKind(StrEnum):
    """The code of what an alarm is about."""

    REGISTRAR_CHANGED = "registrar_changed"
    REGISTRAR_NOT_IN_DNS = "registrar_not_in_dns"
    REGISTRATION_EXPIRED = "registration_expired"
    TOKEN_FROM_WRONG_SOURCE = "token_from_wrong_source"
    NUMBER_OF_ANOTHER_TRUNK = "number_of_another_trunk"
    MANY_UNKNOWN_REQUESTS = "many_unknown_requests"
    CONFLICT = "conflict"
    PASSWORD_GUESSED = "phone_password_guessed"
    UNEXPECTED_REPLY = "reply_from_unexpected_address"


OF_HISTORY = {
    EventKind.REGISTRAR_CHANGED: AlarmKind.REGISTRAR_CHANGED,
    EventKind.EXPIRED: AlarmKind.REGISTRATION_EXPIRED,
    EventKind.UNEXPECTED_REPLY: AlarmKind.UNEXPECTED_REPLY,
}
"""What of a trunk's history is an alarm too."""

EACH_S = 60.0
"""For how long another one of the same kind and trunk waits."""

KIND_LIMIT = 50
"""How many of one kind are told in that time, of whatever trunks."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm. `trunk` None: it is about none. `left_out`: how many like it were not told."""

    kind: AlarmKind
    trunk: str | None
    message: str
    left_out: int = 0


def of_history(trunk_id: str, event: HistoryEvent) -> Alarm | None:
    """Make an alarm of what happened to a trunk, if it is one."""
    kind = OF_HISTORY.get(event.what)
    return Alarm(kind, trunk_id, event.message) if kind else None


@dataclass(slots=True)
class _Since:
    told_at: float
    left_out: int = 0
    last: Alarm | None = None


@dataclass
class AlarmLimiter:
    """Lets through what may be told; `due` gives what was left out when the time is over."""

    each_s: float = EACH_S
    kind_limit: int = KIND_LIMIT
    _since: dict[tuple[AlarmKind, str | None], _Since] = field(default_factory=dict)
    _kinds: dict[AlarmKind, tuple[float, int]] = field(default_factory=dict)
    """Kind → (when its while began, how many were told in it)."""
    _others: dict[AlarmKind, tuple[float, int]] = field(default_factory=dict)
    """Kind → (since when, how many) were left out because there were so many of it."""

    def passes(self, alarm: Alarm, now: float) -> bool:
        """Whether to tell it now; else it is counted."""
        since = self._since.get((alarm.kind, alarm.trunk))
        if since is not None and self._lasts(since.told_at, now):
            since.left_out += 1
            since.last = alarm
            return False
        if not self._has_room(alarm.kind, now):
            self._count_other(alarm.kind, 1, now)
            return False
        self._since[alarm.kind, alarm.trunk] = _Since(now)
        return True

    def due(self, now: float) -> list[Alarm]:
        """Tell what was left out in a while that is over."""
        alarms = []
        for key, since in list(self._since.items()):
            if self._lasts(since.told_at, now):
                continue
            del self._since[key]
            if since.last is None:
                continue
            if self._has_room(since.last.kind, now):
                alarms.append(replace(since.last, left_out=since.left_out - 1))
                self._since[key] = _Since(now)
            else:
                self._count_other(since.last.kind, since.left_out, now)
        for kind, (since_at, count) in list(self._others.items()):
            if not self._lasts(since_at, now):
                alarms.append(Alarm(kind, None, "so many that not each is told", count))
                del self._others[kind]
        return alarms

    def _lasts(self, begun_at: float, now: float) -> bool:
        # A clock that was set back begins anew.
        return begun_at <= now < begun_at + self.each_s

    def _has_room(self, kind: AlarmKind, now: float) -> bool:
        begun_at, told = self._kinds.get(kind, (now, 0))
        if not self._lasts(begun_at, now):
            begun_at, told = now, 0
        if told >= self.kind_limit:
            return False
        self._kinds[kind] = (begun_at, told + 1)
        return True

    def _count_other(self, kind: AlarmKind, count: int, now: float) -> None:
        since_at, counted = self._others.get(kind, (now, 0))
        self._others[kind] = (since_at, counted + count)
