"""The state of a registration whose step cannot be stored: the step has not happened."""

from __future__ import annotations

from whence.core.registration.backoff import Waits
from whence.core.registration.events import MachineEvent, Randomness
from whence.core.registration.machine import step
from whence.core.registration.model import Account, Registration, State
from whence.core.registration.reason import RegistrationReason
from whence.errors import StoreError


def only_noted(
    before: Registration, event: MachineEvent, now: float, account: Account, waits: Waits
) -> Registration:
    """Return `before` with what the event requested; an attempt in flight continues."""
    after, _ = step(before, event, now, account, Randomness(0.0, ""), waits)
    return before._replace(wanted=after.wanted, suspended=after.suspended, again=after.again)


def put_off(before: Registration, now: float, waits: Waits, error: StoreError) -> Registration:
    """Return the registration with a later attempt instead of this one."""
    return before._replace(
        in_flight=None,
        state=State.WAITING,
        since=now,
        next_at=now + waits.unreachable.first_s if before.wanted else None,
        reason=RegistrationReason.NOT_WRITTEN,
        message=str(error),
    )
