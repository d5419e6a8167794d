"""Raises alarms: into the log, for the API, and to the observers, as the webhook."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from whence.core.identification.conflicts import Conflict
from whence.core.identification.decision import Reason, Rule
from whence.core.monitoring.alarms import Alarm, AlarmKind, AlarmLimiter, of_history
from whence.core.registration import history
from whence.core.sip.transport_address import TransportAddress
from whence.core.text import escape_untrusted
from whence.ipc.decisions import DecisionKind, DecisionReport
from whence.ipc.notices import Notice

log = logging.getLogger(__name__)

LIMIT = 1000
"""How many alarms are kept for the API."""

TICK_S = 5.0
"""The time between two checks for suppressed alarms, in seconds."""


@dataclass(frozen=True, slots=True)
class RaisedAlarm:
    """An alarm that was raised. `id` grows, also after a restart of the agent."""

    id: int
    at: float
    alarm: Alarm


class AlarmObserver(Protocol):
    """Acts on alarms. Called in the loop; it must not wait, nor raise."""

    def raised(self, raised: RaisedAlarm) -> None:
        """Act on an alarm that was raised."""


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
        self._last: deque[RaisedAlarm] = deque(maxlen=LIMIT)
        self._id = 0
        self.counts: Counter[AlarmKind] = Counter()
        """Alarms by kind, also suppressed ones."""

    def raise_alarm(self, alarm: Alarm, *, logged: bool = False) -> None:
        """Raise an alarm, unless the limiter suppresses it. `logged`: the log has it already."""
        self.counts[alarm.kind] += 1
        if self._limiter.passes(alarm, self._clock()):
            self._publish(alarm, logged=logged)

    def _publish(self, alarm: Alarm, *, logged: bool) -> None:
        now = self._clock()
        alarm = replace(alarm, message=escape_untrusted(alarm.message))
        self._id = max(self._id + 1, int(now * 1000))
        raised = RaisedAlarm(self._id, now, alarm)
        self._last.append(raised)
        if not logged:
            log.warning("%s", sentence(alarm))
        for observer in self._observers:
            observer.raised(raised)

    def since(self, id_: int, limit: int) -> list[RaisedAlarm]:
        """Return the first `limit` alarms after the one with this id, the oldest first."""
        return [raised for raised in self._last if raised.id > id_][:limit]

    async def run(self) -> None:
        """Raise suppressed alarms when their window is over, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.tick()

    def tick(self) -> None:
        """Raise the suppressed alarms that are due now."""
        for alarm in self._limiter.due(self._clock()):
            self._publish(alarm, logged=False)

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

    def receive(self, report: DecisionReport, _data: bytes) -> None:
        """Raise the alarm of a decision that was refused for such a reason."""
        found = _OF_REFUSAL.get(report.reason) if report.kind is DecisionKind.REFUSED else None
        if report.method == "OPTIONS" and report.reason is Reason.NUMBER_OF_ANOTHER_TRUNK:
            return  # a provider's check of an account is no call
        if found is not None:
            kind, message = found
            for trunk in report.named:
                self._alarms.raise_alarm(Alarm(kind, trunk, message.format(source=report.source)))


def sentence(alarm: Alarm) -> str:
    """Return an alarm as one line."""
    trunk = f"trunk {alarm.trunk}: " if alarm.trunk else ""
    left_out = f" (and {alarm.left_out} more like it)" if alarm.left_out else ""
    return f"alarm: {trunk}{alarm.kind}: {alarm.message}{left_out}"


def as_json(raised: RaisedAlarm) -> dict[str, object]:
    """Return an alarm in the API's names."""
    return {
        "id": raised.id,
        "at": raised.at,
        "kind": str(raised.alarm.kind),
        "trunk": raised.alarm.trunk,
        "message": raised.alarm.message,
        "left_out": raised.alarm.left_out,
    }
