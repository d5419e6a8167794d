"""The operator's orders for one trunk: register it now, unregister it, or pause it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from whence.agent.registration.entry import Entry
from whence.agent.registration.steps import RegistrationSteps
from whence.core.registration.events import Pause, RegisterNow, Unregister
from whence.errors import DisabledTrunkError


@dataclass(frozen=True, slots=True)
class OperatorOrders:
    """The orders of the operator.

    Each raises UnknownTrunkError for an unknown trunk, and StoreError if the directory cannot be
    written. Nothing has changed then.
    """

    find: Callable[[str], Entry]
    """Trunk id → its entry. Raises UnknownTrunkError."""
    steps: RegistrationSteps
    """Takes the steps of the state machine."""
    start_unregistering: Callable[[Entry], None]
    """Starts to unregister a trunk at its registrar."""

    def want(self, trunk_id: str) -> None:
        """Register a trunk now, in any state. Raises DisabledTrunkError."""
        entry = self.find(trunk_id)
        must_be_enabled(entry)
        self.steps.take_now(entry, RegisterNow())
        entry.pausing = False

    def unregister(self, trunk_id: str) -> None:
        """Unregister a trunk until the next `want`. Its addresses end at once."""
        entry = self.find(trunk_id)
        self.steps.take_now(entry, Unregister(None, suspended=True))
        entry.pausing = False
        self.start_unregistering(entry)

    def pause(self, trunk_id: str) -> None:
        """Send no more REGISTERs for a trunk after the attempt in flight."""
        entry = self.find(trunk_id)
        self.steps.flush()  # a request that is sent in this pass is in flight
        if entry.registration.in_flight is not None:
            entry.pausing = True
        else:
            self.steps.take_now(entry, Pause())


def must_be_enabled(entry: Entry) -> None:
    """Raise DisabledTrunkError if the settings disable the trunk."""
    if not entry.trunk.enabled:
        raise DisabledTrunkError(
            f"trunk {entry.trunk.id} is disabled in the file; write enabled = true, and reload"
        )
