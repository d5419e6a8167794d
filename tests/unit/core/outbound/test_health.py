"""Trunks that failed lately."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.outbound.health import FIRST_S, HEALTHY, LONGEST_S, Health

NOON = 1_800_000_000.0


def test_healthy_trunk_is_not_failing() -> None:
    assert not HEALTHY.is_failing(NOON)


def test_failed_trunk_is_failing_for_first_time_only() -> None:
    failed = HEALTHY.failed(NOON)
    assert failed.is_failing(NOON)
    assert failed.is_failing(NOON + FIRST_S - 0.01)
    assert not failed.is_failing(NOON + FIRST_S)


def test_calls_under_way_count_as_one_failure() -> None:
    failed = HEALTHY.failed(NOON)
    assert failed.failed(NOON + 1) == failed


@given(st.integers(1, 200))
def test_failing_time_has_limit(times: int) -> None:
    health, now = HEALTHY, NOON
    for _ in range(times):
        health = health.failed(now)
        assert FIRST_S <= health.until - now <= LONGEST_S
        now = health.until
    assert not health.is_failing(now)


def test_failing_time_doubles() -> None:
    second = HEALTHY.failed(NOON).failed(NOON + FIRST_S)
    assert second.until == pytest.approx(NOON + 3 * FIRST_S)


def test_end_far_in_future_counts_as_past() -> None:
    assert not Health(1, NOON + LONGEST_S + 1).is_failing(NOON)


def test_text_of_health_is_read_back() -> None:
    failed = HEALTHY.failed(NOON)
    assert Health.from_text(failed.to_text()) == failed
    with pytest.raises(ValueError, match="invalid"):
        Health.from_text("x")
