"""Alarms, told: to the log, to the API, and to the webhook."""

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
from whence.core.monitoring import alarms as alarm
from whence.core.monitoring.alarms import Alarm, AlarmKind, AlarmLimiter
from whence.core.registration import history
from whence.core.sip.transport_address import TransportAddress
from whence.core.text import escape_untrusted
from whence.ipc.decisions import DecisionKind, DecisionReport
from whence.ipc.notices import Notice

log = logging.getLogger(__name__)

LIMIT = 1000
"""How many are remembered."""

TICK_S = 5.0
"""How often it is looked at what was left out."""


@dataclass(frozen=True, slots=True)
class RaisedAlarm:
    """An alarm as it was told. `id` grows, also from one agent to the next."""

    id: int
    at: float
    alarm: Alarm


class AlarmObserver(Protocol):
    """Acts on alarms. Called in the loop; it must not wait, nor raise."""

    def raised(self, raised: RaisedAlarm) -> None:
        """An alarm has been told, and is not one of too many alike."""


class Alarms:
    """All alarms come here: `tell` one, or let it observe what happens."""

    def __init__(
        self,
        observers: Sequence[AlarmObserver] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._observers = observers
        self._clock = clock
        self._bounded = AlarmLimiter()
        self._last: deque[RaisedAlarm] = deque(maxlen=LIMIT)
        self._id = 0
        self.counts: Counter[AlarmKind] = Counter()
        """Alarms by kind, also those that were left out."""

    def raise_alarm(self, said: Alarm, *, logged: bool = False) -> None:
        """Tell one, unless there were too many like it. `logged`: the log has it already."""
        self.counts[said.kind] += 1
        if self._bounded.passes(said, self._clock()):
            self._out(said, logged=logged)

    def _out(self, said: Alarm, *, logged: bool) -> None:
        now = self._clock()
        said = replace(said, message=escape_untrusted(said.message))
        self._id = max(self._id + 1, int(now * 1000))
        raised = RaisedAlarm(self._id, now, said)
        self._last.append(raised)
        if not logged:
            log.warning("%s", sentence(said))
        for observer in self._observers:
            observer.raised(raised)

    def since(self, id_: int, limit: int) -> list[RaisedAlarm]:
        """The first `limit` alarms after the one with this id, the oldest first."""
        return [raised for raised in self._last if raised.id > id_][:limit]

    async def run(self) -> None:
        """Tell what was left out, when its time is over; until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.tick()

    def tick(self) -> None:
        """Tell what is due now of what was left out."""
        for said in self._bounded.due(self._clock()):
            self._out(said, logged=False)

    # What happens, and is one.

    def happened(self, trunk_id: str, events: Sequence[history.HistoryEvent]) -> None:
        """Hear what was written into a trunk's history, which the log told."""
        for event in events:
            said = alarm.of_history(trunk_id, event)
            if said is not None:
                self.raise_alarm(said, logged=True)

    def conflict(self, found: Conflict) -> None:
        """Hear of a new conflict, which the log told."""
        self.raise_alarm(Alarm(AlarmKind.CONFLICT, found.trunks[0], str(found)), logged=True)

    def not_in_dns(self, trunk_id: str, registrar: TransportAddress, servers: str) -> None:
        """Hear that a trunk was granted by an address that DNS does not name."""
        message = f"{registrar} granted, and DNS does not name it for {servers}"
        self.raise_alarm(Alarm(AlarmKind.REGISTRAR_NOT_IN_DNS, trunk_id, message))

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
"""Reason of a refusal → the alarm that it is, of each trunk that the request names."""


class WrongTokenAlarms:
    """Raises an alarm when a request names a trunk at a source that is not the trunk's own."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms

    def receive(self, report: DecisionReport, _data: bytes) -> None:
        """Tell of one decision, if it was refused for that."""
        found = _OF_REFUSAL.get(report.reason) if report.kind is DecisionKind.REFUSED else None
        if report.method == "OPTIONS" and report.reason is Reason.NUMBER_OF_ANOTHER_TRUNK:
            return  # a provider asks whether an account lives: that is no call
        if found is not None:
            kind, message = found
            for trunk in report.named:
                self._alarms.raise_alarm(Alarm(kind, trunk, message.format(source=report.source)))


def sentence(said: Alarm) -> str:
    """Write an alarm as one line."""
    trunk = f"trunk {said.trunk}: " if said.trunk else ""
    left_out = f" (and {said.left_out} more like it)" if said.left_out else ""
    return f"alarm: {trunk}{said.kind}: {said.message}{left_out}"


def as_json(raised: RaisedAlarm) -> dict[str, object]:
    """Write an alarm in the API's names."""
    return {
        "id": raised.id,
        "at": raised.at,
        "kind": str(raised.alarm.kind),
        "trunk": raised.alarm.trunk,
        "message": raised.alarm.message,
        "left_out": raised.alarm.left_out,
    }
