"""What the operator orders of one trunk: register it now, unregister it, or pause it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from whence.agent.registration.entry import Entry
from whence.core.registration.events import MachineEvent, Pause, RegisterNow, Unregister
from whence.errors import DisabledTrunkError


@dataclass(frozen=True, slots=True)
class OperatorOrders:
    """Each order raises UnknownTrunkError where there is no such trunk, and StoreError where it
    cannot be written down. Nothing has changed then.
    """

    find: Callable[[str], Entry]
    """Trunk id → its entry. Raises UnknownTrunkError."""
    step: Callable[[Entry, MachineEvent], object]
    """Takes one step of the state machine. Raises StoreError."""
    start_unregistering: Callable[[Entry], None]
    """Starts to unregister a trunk at its registrar."""

    def want(self, trunk_id: str) -> None:
        """Register a trunk now, whatever came before. Raises DisabledTrunkError."""
        entry = self.find(trunk_id)
        must_be_enabled(entry)
        self.step(entry, RegisterNow())
        entry.pausing = False

    def unregister(self, trunk_id: str) -> None:
        """Unregister a trunk until the operator wants it again. Its addresses end at once."""
        entry = self.find(trunk_id)
        self.step(entry, Unregister(None, suspended=True))
        entry.pausing = False
        self.start_unregistering(entry)

    def pause(self, trunk_id: str) -> None:
        """Send no more REGISTERs for a trunk, once the attempt under way is over."""
        entry = self.find(trunk_id)
        if entry.registration.in_flight is not None:
            entry.pausing = True
        else:
            self.step(entry, Pause())


def must_be_enabled(entry: Entry) -> None:
    """Raise DisabledTrunkError where the settings say that the trunk is not to be registered."""
    if not entry.trunk.enabled:
        raise DisabledTrunkError(
            f"trunk {entry.trunk.id} is disabled in the file; write enabled = true, and reload"
        )
