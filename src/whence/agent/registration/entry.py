"""One trunk that is kept registered."""

from __future__ import annotations

from dataclasses import dataclass

from whence.agent.config.trunk import TrunkConfig
from whence.core.registration import history
from whence.core.registration.model import Account, Registration
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri


@dataclass(slots=True, eq=False)
class Entry:
    """One trunk that is kept registered."""

    trunk: TrunkConfig
    account: Account
    registration: Registration
    socket: TransportAddress | None = None
    """Ours, from which the last request went."""
    told: history.Standing | None = None
    """What the log said of it last: a refresh that changes nothing is no news."""
    leaving: bool = False
    """Gone from the file: taken back, and then forgotten."""
    parking: bool = False
    """Whether the operator parked it during an attempt: it is parked when that is over."""
    led_to: Uri | None = None
    """Where a 3xx led to in the attempt under way."""

    def is_due(self, now: float) -> bool:
        """Return whether its next attempt is due."""
        next_at = self.registration.next_at
        return next_at is not None and next_at <= now and not self.leaving
