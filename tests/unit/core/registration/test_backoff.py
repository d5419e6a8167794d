"""Test the waiting times of registration."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.registration.backoff import WAITS, Failure

MINUTE, HOUR = 60, 3600


@pytest.mark.parametrize(
    ("failure", "waits"),
    [
        (
            Failure.WRONG_CREDENTIALS,
            [10 * MINUTE, 20 * MINUTE, 40 * MINUTE, 80 * MINUTE, 160 * MINUTE],
        ),
        (Failure.REJECTED, [5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, HOUR]),
        (Failure.UNREACHABLE, [30, 60, 120, 240, 480, 960, 30 * MINUTE, 30 * MINUTE]),
    ],
)
def test_wait_after_each_failure_doubles_up_to_the_limit(
    failure: Failure, waits: list[int]
) -> None:
    nearly_one = 1 - 1e-12
    waited = [WAITS.after(failure).wait_s(n, nearly_one) for n in range(1, len(waits) + 1)]
    assert waited == pytest.approx(waits)


def test_wait_after_many_wrong_credentials_is_one_day() -> None:
    assert WAITS.after(Failure.WRONG_CREDENTIALS).wait_s(1000, 0.0) == 24 * HOUR


def test_wait_after_no_answer_is_random_in_its_upper_half() -> None:
    wait = WAITS.after(Failure.UNREACHABLE)
    assert (wait.wait_s(1, 0.0), wait.wait_s(1, 0.5)) == (15, 22.5)


@given(st.sampled_from(Failure), st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
def test_wait_is_between_half_the_first_and_the_limit(
    failure: Failure, failures: int, chance: float
) -> None:
    backoff = WAITS.after(failure)
    assert backoff.first_s / 2 <= backoff.wait_s(failures, chance) <= backoff.limit_s


@given(st.integers(1, 7 * 24 * HOUR), st.floats(0, 1, exclude_max=True))
def test_refresh_begins_at_70_to_80_percent_of_the_grant(granted_s: int, chance: float) -> None:
    assert 0.7 * granted_s <= WAITS.refresh_s(granted_s, chance) <= 0.8 * granted_s
