"""The interfaces for observers of registrations. Constructors take the observers.

All methods are called in the event loop, in the order of the observers. They must neither wait nor
raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from whence.core.registration.history import HistoryEvent
from whence.core.registration.model import Registration
from whence.core.settings import TrunkSettings


class RegistrationObserver(Protocol):
    """Follows the states of registrations."""

    def changed(self, trunk: TrunkSettings, registration: Registration) -> None:
        """Called when a trunk is added, and after each stored step."""

    def gone(self, trunk_id: str) -> None:
        """Called when a trunk is removed, or gets another account; then `changed` follows."""


class HistoryObserver(Protocol):
    """Follows the history events of trunks."""

    def happened(self, trunk_id: str, events: Sequence[HistoryEvent]) -> None:
        """Called after these events are stored in the trunk's history.

        The end of a grant is reported at once, even if it cannot be stored yet. Then a call with
        the same event follows when it is.
        """
