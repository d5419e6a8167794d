"""Raises alarms and their all-clears: into the log, for the API, and to the observers.

The directory keeps the open alarms. So an agent that restarts raises no open alarm again. It also
sends the all-clear of an alarm that a former agent raised.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from whence.agent.runtime.instants import rfc3339
from whence.core.identification.conflicts import Conflict
from whence.core.identification.decision import Reason, Rule
from whence.core.monitoring.alarms import (
    CONDITIONS,
    Alarm,
    AlarmKind,
    AlarmLimiter,
    of_history,
)
from whence.core.registration import history
from whence.core.sip.transport_address import TransportAddress
from whence.core.text import escape_untrusted
from whence.errors import StoreError
from whence.ipc.decisions import DecisionKind, DecisionReport
from whence.ipc.notices import Notice
from whence.store.alarms import StoredAlarm

log = logging.getLogger(__name__)

LIMIT = 1000
"""How many alarms are kept for the API, besides the open ones."""

TICK_S = 1.0
"""The time between two checks for suppressed and unsaved alarms, in seconds."""

Key = tuple[AlarmKind, str | None]
"""The kind and trunk that identify an open alarm."""


@dataclass(frozen=True, slots=True)
class RaisedAlarm:
    """An alarm that was raised, and perhaps cleared.

    `id` grows, also after a restart of the agent. An alarm that is cleared gets a new one.
    """

    id: int
    at: float
    """When it was raised or, where it is cleared, cleared."""
    alarm: Alarm
    raised_at: float
    lasting: bool = False
    """Whether it is of a lasting condition, and so has an all-clear."""
    cleared_at: float | None = None
    cleared_message: str = ""
    """Why it was cleared; empty where it is not."""

    @property
    def status(self) -> Literal["firing", "resolved"]:
        """The status in the words of Prometheus' Alertmanager."""
        return "firing" if self.cleared_at is None else "resolved"

    @property
    def key(self) -> Key:
        """The kind and trunk."""
        return self.alarm.kind, self.alarm.trunk


class AlarmObserver(Protocol):
    """Acts on alarms. Called in the loop; it must not wait, nor raise."""

    def raised(self, raised: RaisedAlarm) -> None:
        """Act on an alarm that was raised or cleared."""


class AlarmStore(Protocol):
    """Keeps the open alarms over a restart of the agent."""

    def open_alarms(self) -> list[StoredAlarm]:
        """Return the open alarms. Raises: StoreError."""

    def write_alarms(
        self, opened: Iterable[StoredAlarm], ended: Iterable[tuple[str, str | None]]
    ) -> None:
        """Store open alarms, and remove ended ones. Raises: StoreError."""


class Alarms:
    """All alarms. A part raises one, or Alarms observes the part."""

    def __init__(
        self,
        observers: Sequence[AlarmObserver] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._observers = observers
        self._clock = clock
        self._limiter = AlarmLimiter()
        self._past: deque[RaisedAlarm] = deque(maxlen=LIMIT)
        self._open: dict[Key, RaisedAlarm] = {}
        self._suppressed: set[Key] = set()
        """The open alarms that were not published, because there were too many."""
        self._unsaved: set[Key] = set()
        self._store: AlarmStore | None = None
        self._id = 0
        self.counts: Counter[AlarmKind] = Counter()
        """Alarms by kind, also suppressed ones."""

    def restore(self, store: AlarmStore) -> None:
        """Take over the open alarms of a former agent, and keep ours in the same store.

        Alarms of kinds that this Whence does not know stay in the store: no all-clear is possible.
        Raises: StoreError.
        """
        self._store = store
        for stored in store.open_alarms():
            if stored.kind not in CONDITIONS:
                log.warning("open alarm of an unknown kind: %s", escape_untrusted(stored.kind))
                continue
            kind = AlarmKind(stored.kind)
            alarm = Alarm(kind, stored.trunk, stored.message)
            raised = RaisedAlarm(stored.id, stored.raised_at, alarm, stored.raised_at, lasting=True)
            self._open[raised.key] = raised
            self._id = max(self._id, stored.id)
            if not stored.published:
                self._suppressed.add(raised.key)
        for key in list(self._suppressed):
            if self._limiter.passes(self._open[key].alarm, self._clock()):
                self._publish_suppressed(key, self._open[key].alarm)

    # To raise and to clear.

    def raise_alarm(self, alarm: Alarm, *, logged: bool = False) -> None:
        """Raise an alarm, unless it is open, or the limiter suppresses it.

        `logged`: the log has it already.
        """
        alarm = replace(alarm, message=escape_untrusted(alarm.message))
        lasting = alarm.kind in CONDITIONS
        if lasting and (alarm.kind, alarm.trunk) in self._open:
            return
        self.counts[alarm.kind] += 1
        passes = self._limiter.passes(alarm, self._clock())
        if lasting:
            raised = self._make(alarm, lasting=True)
            self._open[raised.key] = raised
            if not passes:
                self._suppressed.add(raised.key)
            self._save(raised.key, at_once=passes)
            if passes:
                self._publish(raised, logged=logged)
        elif passes:
            self._report(alarm, logged=logged)

    def clear(self, kind: AlarmKind, trunk: str | None, message: str) -> None:
        """Clear an open alarm; `message` says why. Where none is open, do nothing."""
        key = kind, trunk
        raised = self._open.pop(key, None)
        if raised is None:
            return
        now = self._clock()
        cleared = replace(
            raised,
            id=self._next_id(now),
            at=now,
            cleared_at=now,
            cleared_message=escape_untrusted(message),
        )
        self._past.append(cleared)
        published = key not in self._suppressed
        self._suppressed.discard(key)
        self._save(key, at_once=published)
        if published:
            log.info("%s", sentence(cleared))
            for observer in self._observers:
                observer.raised(cleared)

    def is_open(self, kind: AlarmKind, trunk: str | None) -> bool:
        """Return whether an alarm of this kind and trunk is open."""
        return (kind, trunk) in self._open

    @property
    def open(self) -> list[RaisedAlarm]:
        """The open alarms, the oldest first."""
        return sorted(self._open.values(), key=lambda raised: raised.id)

    def since(self, id_: int, limit: int | None = None) -> list[RaisedAlarm]:
        """Return the first `limit` alarms after the one with this id, or all, by id.

        These are the open alarms, and the last `LIMIT` of the others.
        """
        found = [raised for raised in (*self._open.values(), *self._past) if raised.id > id_]
        return sorted(found, key=lambda raised: raised.id)[:limit]

    # Limits and storage, as time passes.

    async def run(self) -> None:
        """Publish suppressed alarms when their window is over, until cancelled."""
        try:
            while True:
                await asyncio.sleep(TICK_S)
                self.tick()
        finally:
            self._save_all()

    def tick(self) -> None:
        """Publish the suppressed alarms that are due now, and store what is not stored."""
        for alarm in self._limiter.due(self._clock()):
            key = alarm.kind, alarm.trunk
            if key in self._suppressed:
                self._publish_suppressed(key, alarm)
            elif alarm.kind not in CONDITIONS or alarm.trunk is None:
                self._report(alarm, logged=False)  # an event, or the number of suppressed ones
        self._save_all()

    def _publish_suppressed(self, key: Key, alarm: Alarm) -> None:
        raised = self._open[key] = replace(self._open[key], alarm=alarm)
        self._suppressed.discard(key)
        self._save(key, at_once=True)
        self._publish(raised, logged=False)

    def _report(self, alarm: Alarm, *, logged: bool) -> None:
        """Publish an alarm of an event, which has no all-clear."""
        raised = self._make(alarm, lasting=False)
        self._past.append(raised)
        self._publish(raised, logged=logged)

    def _make(self, alarm: Alarm, *, lasting: bool) -> RaisedAlarm:
        now = self._clock()
        return RaisedAlarm(self._next_id(now), now, alarm, now, lasting)

    def _publish(self, raised: RaisedAlarm, *, logged: bool) -> None:
        if not logged:
            log.warning("%s", sentence(raised))
        for observer in self._observers:
            observer.raised(raised)

    def _next_id(self, now: float) -> int:
        self._id = max(self._id + 1, int(now * 1000))
        return self._id

    def _save(self, key: Key, *, at_once: bool) -> None:
        self._unsaved.add(key)
        if at_once:
            self._save_all()

    def _save_all(self) -> None:
        """Store what changed. A directory that cannot be written gets it at the next tick."""
        if self._store is None or not self._unsaved:
            return
        opened = [
            StoredAlarm(
                raised.id,
                str(raised.alarm.kind),
                raised.alarm.trunk,
                raised.raised_at,
                raised.alarm.message,
                raised.key not in self._suppressed,
            )
            for key in self._unsaved
            if (raised := self._open.get(key)) is not None
        ]
        ended = [(str(kind), trunk) for kind, trunk in self._unsaved - self._open.keys()]
        try:
            self._store.write_alarms(opened, ended)
        except StoreError:
            return  # the monitor of the store reports it
        self._unsaved.clear()

    # The events that raise an alarm.

    def happened(self, trunk_id: str, events: Sequence[history.HistoryEvent]) -> None:
        """Raise the alarms of new events in a trunk's history, which the log has already."""
        for event in events:
            alarm = of_history(trunk_id, event)
            if alarm is not None:
                self.raise_alarm(alarm, logged=True)

    def conflict(self, found: Conflict) -> None:
        """Report a new conflict, which the log has already."""
        self.raise_alarm(Alarm(AlarmKind.CONFLICT, found.trunks[0], str(found)), logged=True)

    def conflicts_found(self, found: Sequence[Conflict]) -> None:
        """Clear the alarms of conflicts that are no longer among those `found`."""
        trunks = {conflict.trunks[0] for conflict in found}
        for kind, trunk in list(self._open):
            if kind is AlarmKind.CONFLICT and trunk not in trunks:
                self.clear(kind, trunk, "the conflict has ended")

    def kamailio_restarted(self, reason: str) -> None:
        """Report that `whence run` started Kamailio again. The log has its line."""
        message = f"Kamailio was started again: {reason}"
        self.raise_alarm(Alarm(AlarmKind.KAMAILIO_RESTARTED, None, message), logged=True)

    def not_in_dns(self, trunk_id: str, registrar: TransportAddress, servers: str) -> None:
        """Report that an address granted a registration, and that DNS does not name it."""
        message = f"{registrar} granted, and DNS does not name it for {servers}"
        self.raise_alarm(Alarm(AlarmKind.REGISTRAR_NOT_IN_DNS, trunk_id, message))

    def clock_stepped(self, step_s: float, _offset: object) -> None:
        """Report that the system clock was set."""
        message = (
            f"the system clock was set {step_s:+.1f} s: the ends of addresses and registrations "
            "are corrected, and all trunks register again; check its NTP client"
        )
        self.raise_alarm(Alarm(AlarmKind.CLOCK_STEPPED, None, message))

    def too_many_unknown_requests(self, last: DecisionReport, limit: int) -> None:
        """Report that unknown sources sent more requests than the limit within a minute."""
        message = (
            f"more than {limit} requests of unknown sources in a minute, "
            f"the last from {last.source}"
        )
        self.raise_alarm(Alarm(AlarmKind.MANY_UNKNOWN_REQUESTS, None, message))

    def password_guessed(self, notice: Notice) -> None:
        """Report that a source was blocked because it guessed phones' passwords."""
        message = (
            f"too many wrong passwords from {notice.source}; its REGISTERs are dropped for "
            f"{notice.blocked_s} s"
        )
        self.raise_alarm(Alarm(AlarmKind.PASSWORD_GUESSED, None, message), logged=True)


_OF_REFUSAL: dict[Rule | Reason, tuple[AlarmKind, str]] = {
    Reason.TOKEN_FROM_WRONG_SOURCE: (
        AlarmKind.TOKEN_FROM_WRONG_SOURCE,
        "a call that names its token came from {source}, and was refused",
    ),
    Reason.NUMBER_OF_ANOTHER_TRUNK: (
        AlarmKind.NUMBER_OF_ANOTHER_TRUNK,
        "a call that names its number or account came from {source}, where it has no address, "
        "and was refused",
    ),
}
"""The reason of a refusal → the alarm for each trunk that the request names."""


class WrongTokenAlarms:
    """Raises an alarm when a request names a trunk at a source that is not the trunk's own."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms

    def receive(self, report: DecisionReport, _record: bytes) -> None:
        """Raise the alarm of a decision that was refused for such a reason."""
        found = _OF_REFUSAL.get(report.reason) if report.kind is DecisionKind.REFUSED else None
        if report.method == "OPTIONS" and report.reason is Reason.NUMBER_OF_ANOTHER_TRUNK:
            return  # a provider's check of an account is no call
        if found is not None:
            kind, message = found
            for trunk in report.named:
                self._alarms.raise_alarm(Alarm(kind, trunk, message.format(source=report.source)))


class MediaAlarms:
    """Raises an alarm when the edge refuses a call because rtpengine does not answer."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms

    def receive(self, report: DecisionReport, _record: bytes) -> None:
        """Raise the alarm of a call that was refused for that."""
        if report.reason is Reason.MEDIA_UNAVAILABLE:
            message = (
                "rtpengine does not answer, so a call got a 503; start it, or write its "
                "listen-ng into [media] rtpengine"
            )
            self._alarms.raise_alarm(Alarm(AlarmKind.MEDIA_UNAVAILABLE, None, message))


def sentence(raised: RaisedAlarm) -> str:
    """Return an alarm, or its all-clear, as one line."""
    alarm = raised.alarm
    trunk = f"trunk {alarm.trunk}: " if alarm.trunk else ""
    if raised.cleared_at is not None:
        return f"alarm cleared: {trunk}{alarm.kind}: {raised.cleared_message}"
    left_out = f" (and {alarm.left_out} more like it)" if alarm.left_out else ""
    return f"alarm: {trunk}{alarm.kind}: {alarm.message}{left_out}"


def as_json(raised: RaisedAlarm) -> dict[str, object]:
    """Return an alarm in the API's names."""
    return {
        "id": raised.id,
        "at": rfc3339(raised.at),
        "status": raised.status,
        "lasting": raised.lasting,
        "kind": str(raised.alarm.kind),
        "trunk": raised.alarm.trunk,
        "message": raised.alarm.message,
        "left_out": raised.alarm.left_out,
        "raised_at": rfc3339(raised.raised_at),
        "cleared_at": None if raised.cleared_at is None else rfc3339(raised.cleared_at),
        "cleared_message": raised.cleared_message or None,
    }
