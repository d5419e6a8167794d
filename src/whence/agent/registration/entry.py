"""What the agent has in memory of one trunk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from whence.core.registration import history
from whence.core.registration.model import Account, Registration
from whence.core.settings import TrunkSettings
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri


@dataclass(frozen=True, slots=True)
class StoredTrunk:
    """What the directory has of a trunk that is added."""

    token: str
    registration: Registration | None = None
    """Its registration before a restart; None where it never registered."""
    has_learned: bool = False
    """Whether the directory still has a learned address of it."""


@dataclass(slots=True, eq=False)
class Entry:
    """A trunk, its account and its registration."""

    trunk: TrunkSettings
    account: Account
    registration: Registration
    socket: TransportAddress | None = None
    """Our socket that sent the last request."""
    last_logged: history.LoggedState | None = None
    """The state that was logged last; a refresh that changes nothing is not logged."""
    counted_end_at: float | None = None
    """The end of the last grant that was counted as expired."""
    leaving: bool = False
    """Whether it was removed from the file; it is unregistered, and then dropped."""
    pausing: bool = False
    """Whether the operator paused it during an attempt; it pauses after the attempt."""
    granted_contact: Uri | None = None
    """Our Contact in the last REGISTER with a 2xx; None before the first one of this agent."""
    seen_at: tuple[TransportAddress, tuple[str, int]] | None = None
    """Our socket, and the (ip, port) at which the registrar saw its last REGISTER."""
    moved_at: float | None = None
    """When it registered at once because the registrar saw another address."""
    led_to: tuple[Uri, ...] = ()
    """The Contacts of 3xx answers that this attempt follows."""

    def is_due(self, now: float) -> bool:
        """Return whether its next attempt is due."""
        next_at = self.registration.next_at
        return next_at is not None and next_at <= now and not self.leaving


@lru_cache(maxsize=1024)
def shared(state: history.LoggedState | None) -> history.LoggedState | None:
    """Return one object for all equal values, since thousands of trunks have the same."""
    return state


def with_learned(registration: Registration, *, has_learned: bool) -> Registration:
    """Return the registration, without `learned_until` if no learned address is stored."""
    if registration.learned_until is None or has_learned:
        return registration
    return registration._replace(learned_until=None)
