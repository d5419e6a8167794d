"""The outcomes of attempts to register, as the metrics count them."""

from __future__ import annotations

from enum import StrEnum

from whence.core.registration.backoff import Failure
from whence.core.registration.model import Registration
from whence.core.registration.reason import RegistrationReason


class AttemptOutcome(StrEnum):
    """How an attempt to register ended."""

    REGISTERED = "registered"
    AUTH_FAILED = "auth_failed"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"
    UNWRITTEN = "unwritten"
    """The directory could not be written: a full disk, for example."""


_OF_FAILURE = {
    Failure.WRONG_CREDENTIALS: AttemptOutcome.AUTH_FAILED,
    Failure.REJECTED: AttemptOutcome.REJECTED,
    Failure.UNREACHABLE: AttemptOutcome.UNREACHABLE,
}


def outcome_of(failed: Registration) -> AttemptOutcome:
    """Return the outcome of a failed attempt."""
    if failed.failure is None or failed.reason is RegistrationReason.NOT_WRITTEN:
        return AttemptOutcome.UNWRITTEN
    return _OF_FAILURE[failed.failure]
