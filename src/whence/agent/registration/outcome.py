"""How attempts to register end, as the metrics count it."""

from __future__ import annotations

from enum import StrEnum

from whence.core.registration.backoff import Failure
from whence.core.registration.model import Registration
from whence.core.registration.reason import RegistrationReason


class AttemptOutcome(StrEnum):
    """How an attempt to register ended."""

    REGISTERED = "registered"
    WRONG_CREDENTIALS = "wrong_credentials"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    UNWRITTEN = "unwritten"
    """The directory could not be written: a full disk, for example."""


_OF_FAILURE = {
    Failure.WRONG_CREDENTIALS: AttemptOutcome.WRONG_CREDENTIALS,
    Failure.REFUSED: AttemptOutcome.REFUSED,
    Failure.UNREACHABLE: AttemptOutcome.UNREACHABLE,
}


def outcome_of(failed: Registration) -> AttemptOutcome:
    """Return the outcome of an attempt that has failed."""
    if failed.failure is None or failed.reason is RegistrationReason.NOT_WRITTEN:
        return AttemptOutcome.UNWRITTEN
    return _OF_FAILURE[failed.failure]
