"""The alarms on registrations of Kamailio's `uac`, which Kamailio's workers write as events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whence.agent.monitoring.trunk_alarms import TrunkAlarms
from whence.core.registration.backoff import Failure
from whence.core.registration.history import EventKind, HistoryEvent
from whence.core.registration.reason import RegistrationReason


@dataclass(frozen=True, slots=True)
class UacAlarms:
    """Raises and clears the alarms of a trunk by the events in its history."""

    alarms: TrunkAlarms

    def happened(self, trunk_id: str, events: Sequence[HistoryEvent]) -> None:
        """Act on new events."""
        for event in events:
            if event.what in (EventKind.REGISTERED, EventKind.REGISTRAR_CHANGED):
                self.alarms.registered(trunk_id, event.message)
            elif event.what is EventKind.UNREGISTERED:
                self.alarms.ended(trunk_id, "uac unregistered the trunk")
            elif event.reason is RegistrationReason.REJECTED:
                self.alarms.failed(trunk_id, Failure.REJECTED, event.message)
            elif event.reason is RegistrationReason.NO_ANSWER:
                self.alarms.failed(trunk_id, Failure.UNREACHABLE, event.message)
        self.alarms.happened(trunk_id, events)
