"""Alarms for trunks that cannot register, and their all-clear.

Rejected credentials and a rejected registration raise an alarm at once. A registrar that does not
answer raises one after some minutes. The alarms of a trunk are cleared when it is registered again,
suspended by the operator, disabled, or removed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from whence.agent.monitoring.alarms import Alarms
from whence.agent.runtime.due_queue import DueQueue
from whence.core.monitoring.alarms import TRUNK_CONDITIONS, Alarm, AlarmKind
from whence.core.registration.backoff import Failure
from whence.core.registration.history import EventKind, HistoryEvent
from whence.core.registration.model import Registration, State
from whence.core.registration.reason import RegistrationReason

_OF_FAILURE = {
    Failure.WRONG_CREDENTIALS: AlarmKind.AUTH_FAILED,
    Failure.REJECTED: AlarmKind.REGISTRATION_REJECTED,
}
"""The failures that raise an alarm at once."""


class ObservedTrunk(Protocol):
    """The settings of a trunk that matter here."""

    @property
    def id(self) -> str: ...  # noqa: D102

    @property
    def enabled(self) -> bool: ...  # noqa: D102


class TrunkAlarms:
    """The alarms on registrations. It observes the registrations and the trunks' histories."""

    def __init__(
        self,
        alarms: Alarms,
        unreachable_after_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`unreachable_after_s`: how long a registrar may be unreachable before its alarm."""
        self._alarms = alarms
        self._unreachable_after_s = unreachable_after_s
        self._clock = clock
        self._unreachable: DueQueue[str] = DueQueue(clock)
        """The trunks whose registrar is unreachable, until their alarm is due."""
        self._messages: dict[str, str] = {}
        """Trunk id → why its registrar is unreachable."""
        self._suspended: set[str] = set()

    def changed(self, trunk: ObservedTrunk, registration: Registration) -> None:
        """Raise or clear the alarms of a trunk whose registration has changed."""
        if not trunk.enabled:
            self.ended(trunk.id, "the trunk is disabled in the file")
        elif registration.suspended:
            self._suspended.add(trunk.id)
            paused = registration.state is State.PAUSED
            self.ended(trunk.id, f"the operator {'paused' if paused else 'unregistered'} the trunk")
        else:
            self._suspended.discard(trunk.id)
            self._judge(trunk.id, registration)

    def _judge(self, trunk_id: str, registration: Registration) -> None:
        r = registration
        if r.state is State.REGISTERED and r.expires_at is not None:  # the grant has not ended
            self.registered(trunk_id, f"{r.message} by {r.registrar}" if r.registrar else r.message)
        elif r.failure is None or r.reason is RegistrationReason.NOT_WRITTEN or r.state.under_way:
            return
        else:
            self.failed(trunk_id, r.failure, _answer(r))

    def registered(self, trunk_id: str, message: str) -> None:
        """Clear the alarms of a trunk that is registered. `message` is about its grant."""
        self.ended(trunk_id, f"registered again: {message}")

    def failed(self, trunk_id: str, failure: Failure, message: str) -> None:
        """Raise the alarm of a failure at once or, for an unreachable registrar, later."""
        if failure is not Failure.UNREACHABLE:
            self._forget(trunk_id)
            self._alarms.raise_alarm(Alarm(_OF_FAILURE[failure], trunk_id, message))
            return
        self._messages[trunk_id] = message
        is_open = self._alarms.is_open(AlarmKind.REGISTRAR_UNREACHABLE, trunk_id)
        if not is_open and self._unreachable.at(trunk_id) is None:
            self._unreachable.schedule(trunk_id, self._clock() + self._unreachable_after_s)

    def gone(self, trunk_id: str) -> None:
        """Clear the alarms of a trunk that was removed, or has another account."""
        self._suspended.discard(trunk_id)
        self.ended(trunk_id, "the trunk was removed, or its account changed")

    def keep(self, has_trunk: Callable[[str], bool]) -> None:
        """Clear the alarms of trunks that were removed while no agent ran."""
        for raised in self._alarms.open:
            kind, trunk_id = raised.key
            if kind in TRUNK_CONDITIONS and trunk_id is not None and not has_trunk(trunk_id):
                self.gone(trunk_id)

    def happened(self, trunk_id: str, events: Sequence[HistoryEvent]) -> None:
        """Raise the alarms of new events. A suspended trunk may expire without an alarm."""
        for event in events:
            if event.what is not EventKind.EXPIRED or trunk_id not in self._suspended:
                self._alarms.happened(trunk_id, [event])

    def tick(self) -> None:
        """Raise the alarms of registrars that have been unreachable for too long."""
        for trunk_id in self._unreachable.due(self._clock()):
            message = self._messages.pop(trunk_id, "")
            self._alarms.raise_alarm(Alarm(AlarmKind.REGISTRAR_UNREACHABLE, trunk_id, message))

    async def run(self) -> None:
        """Raise the alarms that become due, until cancelled."""
        while True:
            await self._unreachable.wait()
            self.tick()

    def ended(self, trunk_id: str, message: str) -> None:
        """Clear all alarms of a trunk; `message` says why."""
        self._forget(trunk_id)
        for kind in TRUNK_CONDITIONS:
            self._alarms.clear(kind, trunk_id, message)

    def _forget(self, trunk_id: str) -> None:
        """Forget that a registrar is unreachable."""
        self._unreachable.cancel(trunk_id)
        self._messages.pop(trunk_id, None)


def _answer(registration: Registration) -> str:
    """Return why a registration failed, with the registrar's answer."""
    r = registration
    answer = f"{r.last_status} {r.last_phrase}".strip() if r.last_status else ""
    return f"{r.message} ({answer})" if answer and answer not in r.message else r.message
