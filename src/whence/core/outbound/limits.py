"""Limits of users' calls. The edge counts, and these functions decide.

An emergency call has no limit.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from whence.core.outbound.model import NO_LIMITS, Limits
from whence.core.outbound.numbers import Called

REFUSED_IN_DIALOG = frozenset({"REFER", "SUBSCRIBE", "PUBLISH", "REGISTER"})
"""Methods that no trunk gets from a phone, inside a dialog either.

The provider would obey a REFER for the account of the trunk: it would call a number that no limit
has checked.
"""


class LimitReason(StrEnum):
    """The limit that a call reaches."""

    NUMBER_NOT_ALLOWED = "number_not_allowed"
    CONCURRENT_CALLS = "concurrent_calls"
    CALLS_PER_MINUTE = "calls_per_minute"


class Counts(NamedTuple):
    """The calls of a user or a trunk, without the call that is decided."""

    concurrent: int = 0
    in_last_minute: int = 0


NO_CALLS = Counts()


def user_limit(limits: Limits, counts: Counts, called: Called) -> LimitReason | None:
    """Return the limit of a user that a call to a number reaches, or None."""
    if called.emergency:
        return None
    if called.number and limits.prefixes and not called.number.startswith(limits.prefixes):
        return LimitReason.NUMBER_NOT_ALLOWED
    return _full(limits, counts)


def trunk_limit(limits: Limits, counts: Counts, called: Called) -> LimitReason | None:
    """Return the limit of a trunk that a call reaches, or None. The next trunk may take it."""
    if called.emergency:
        return None
    if limits.prefixes and not called.number.startswith(limits.prefixes):
        return LimitReason.NUMBER_NOT_ALLOWED
    return _full(limits, counts)


def duration_s(user: Limits, trunk: Limits = NO_LIMITS, *, emergency: bool = False) -> int:
    """Return how long a call lasts at most: the shorter of both limits; 0: no limit."""
    given = [limits.duration_s for limits in (user, trunk) if limits.duration_s > 0]
    return 0 if emergency else min(given, default=0)


def _full(limits: Limits, counts: Counts) -> LimitReason | None:
    if limits.concurrent and counts.concurrent >= limits.concurrent:
        return LimitReason.CONCURRENT_CALLS
    if limits.per_minute and counts.in_last_minute >= limits.per_minute:
        return LimitReason.CALLS_PER_MINUTE
    return None
