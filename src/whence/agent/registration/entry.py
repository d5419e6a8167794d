"""One trunk that is kept registered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from whence.core.registration import history
from whence.core.registration.model import Account, Registration
from whence.core.settings import TrunkSettings
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri


@dataclass(frozen=True, slots=True)
class StoredTrunk:
    """What the directory knows of a trunk that is added."""

    token: str
    registration: Registration | None = None
    """How it was registered before a restart; None where it never was."""
    has_learned: bool = False
    """Whether it still has a learned address."""


@dataclass(slots=True, eq=False)
class Entry:
    """One trunk that is kept registered."""

    trunk: TrunkSettings
    account: Account
    registration: Registration
    socket: TransportAddress | None = None
    """Ours, from which the last request went."""
    last_reported: history.Standing | None = None
    """What the log said of it last: a refresh that changes nothing is no news."""
    leaving: bool = False
    """Gone from the file: unregistered, and then forgotten."""
    pausing: bool = False
    """Whether the operator paused it during an attempt: it is paused when that is over."""
    led_to: Uri | None = None
    """Where a 3xx led to in the attempt under way."""

    def is_due(self, now: float) -> bool:
        """Return whether its next attempt is due."""
        next_at = self.registration.next_at
        return next_at is not None and next_at <= now and not self.leaving


@lru_cache(maxsize=1024)
def shared(standing: history.Standing | None) -> history.Standing | None:
    """Return one value for all that are equal: thousands of trunks stand alike."""
    return standing


def with_learned(registration: Registration, *, has_learned: bool) -> Registration:
    """Return the registration; nothing is learned where no learned address is left."""
    if registration.learned_until is None or has_learned:
        return registration
    return replace(registration, learned_until=None)
