"""Limits of users and trunks."""

import pytest

from whence.core.outbound.limits import (
    REFUSED_IN_DIALOG,
    Counts,
    LimitReason,
    duration_s,
    trunk_limit,
    user_limit,
)
from whence.core.outbound.model import NO_LIMITS, Limits
from whence.core.outbound.numbers import Called

BERLIN = Called("+493012345678")
LIMITS = Limits(concurrent=2, per_minute=5, prefixes=("+49", "+442", "116"))


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (Counts(0, 0), None),
        (Counts(1, 4), None),
        (Counts(2, 0), LimitReason.CONCURRENT_CALLS),
        (Counts(3, 0), LimitReason.CONCURRENT_CALLS),
        (Counts(0, 5), LimitReason.CALLS_PER_MINUTE),
    ],
)
def test_count_at_limit_refuses_one_more_call(counts: Counts, reason: LimitReason | None) -> None:
    assert user_limit(LIMITS, counts, BERLIN) is reason
    assert trunk_limit(LIMITS, counts, BERLIN) is reason


@pytest.mark.parametrize("number", ["+493012345678", "+442071234567", "116117"])
def test_number_with_allowed_prefix_is_allowed(number: str) -> None:
    assert user_limit(LIMITS, Counts(), Called(number)) is None


@pytest.mark.parametrize("number", ["+12125551234", "+449001234567", "03012345678", "49301234567"])
def test_number_with_other_prefix_is_not_allowed(number: str) -> None:
    assert user_limit(LIMITS, Counts(), Called(number)) is LimitReason.NUMBER_NOT_ALLOWED
    assert trunk_limit(LIMITS, Counts(), Called(number)) is LimitReason.NUMBER_NOT_ALLOWED


def test_call_to_user_has_no_allowed_prefix() -> None:
    assert user_limit(LIMITS, Counts(), Called(user="bob")) is None
    assert user_limit(LIMITS, Counts(2), Called(user="bob")) is LimitReason.CONCURRENT_CALLS


def test_emergency_call_has_no_limit() -> None:
    called, counts = Called("112", emergency=True), Counts(1000, 1000)
    assert user_limit(LIMITS, counts, called) is None
    assert trunk_limit(LIMITS, counts, called) is None
    assert duration_s(Limits(duration_s=60), emergency=True) == 0


def test_user_without_limits_may_call() -> None:
    assert user_limit(NO_LIMITS, Counts(1000, 1000), BERLIN) is None


@pytest.mark.parametrize(
    ("user", "trunk", "shorter"), [(0, 0, 0), (60, 0, 60), (0, 90, 90), (60, 90, 60), (90, 60, 60)]
)
def test_duration_is_shorter_limit(user: int, trunk: int, shorter: int) -> None:
    assert duration_s(Limits(duration_s=user), Limits(duration_s=trunk)) == shorter


def test_refer_to_trunk_is_refused() -> None:
    assert "REFER" in REFUSED_IN_DIALOG
    assert not REFUSED_IN_DIALOG & {"INVITE", "ACK", "BYE", "INFO", "UPDATE", "PRACK", "CANCEL"}
