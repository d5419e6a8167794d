"""What parts outside implement to learn of registrations. They are handed to constructors.

All methods are called in the loop, in the order of the observers. They must not wait, nor raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from whence.core.registration.history import HistoryEvent
from whence.core.registration.model import Registration
from whence.core.settings import TrunkSettings


class RegistrationObserver(Protocol):
    """Acts on the state of registrations."""

    def changed(self, trunk: TrunkSettings, registration: Registration) -> None:
        """It was taken up at a start, or a step of it has been written down."""

    def gone(self, trunk_id: str) -> None:
        """The trunk is in the file no more, or is another account now: `changed` follows then."""


class HistoryObserver(Protocol):
    """Acts on what happened to trunks."""

    def happened(self, trunk_id: str, events: Sequence[HistoryEvent]) -> None:
        """These events have been written into the trunk's history."""
