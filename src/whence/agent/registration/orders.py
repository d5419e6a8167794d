"""The operator's orders for one trunk: register it now, unregister it, or pause it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from whence.agent.registration.entry import Entry
from whence.core.registration.events import MachineEvent, Pause, RegisterNow, Unregister
from whence.errors import DisabledTrunkError


@dataclass(frozen=True, slots=True)
class OperatorOrders:
    """The orders of the operator.

    Each raises UnknownTrunkError for an unknown trunk, and StoreError if the directory cannot be
    written. Nothing has changed then.
    """

    find: Callable[[str], Entry]
    """Trunk id → its entry. Raises UnknownTrunkError."""
    step: Callable[[Entry, MachineEvent], object]
    """Takes one step of the state machine. Raises StoreError."""
    start_unregistering: Callable[[Entry], None]
    """Starts to unregister a trunk at its registrar."""

    def want(self, trunk_id: str) -> None:
        """Register a trunk now, in any state. Raises DisabledTrunkError."""
        entry = self.find(trunk_id)
        must_be_enabled(entry)
        self.step(entry, RegisterNow())
        entry.pausing = False

    def unregister(self, trunk_id: str) -> None:
        """Unregister a trunk until the next `want`. Its addresses end at once."""
        entry = self.find(trunk_id)
        self.step(entry, Unregister(None, suspended=True))
        entry.pausing = False
        self.start_unregistering(entry)

    def pause(self, trunk_id: str) -> None:
        """Send no more REGISTERs for a trunk after the attempt in flight."""
        entry = self.find(trunk_id)
        if entry.registration.in_flight is not None:
            entry.pausing = True
        else:
            self.step(entry, Pause())


def must_be_enabled(entry: Entry) -> None:
    """Raise DisabledTrunkError if the settings disable the trunk."""
    if not entry.trunk.enabled:
        raise DisabledTrunkError(
            f"trunk {entry.trunk.id} is disabled in the file; write enabled = true, and reload"
        )
