"""Every waiting time of registration."""

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
        (Failure.REFUSED, [5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, HOUR]),
        (Failure.UNREACHABLE, [30, 60, 120, 240, 480, 960, 30 * MINUTE, 30 * MINUTE]),
    ],
)
def test_a_wait_doubles_with_each_failure_up_to_its_limit(
    failure: Failure, waits: list[int]
) -> None:
    nearly_one = 1 - 1e-12
    said = [WAITS.after(failure).wait_s(n, nearly_one) for n in range(1, len(waits) + 1)]
    assert said == pytest.approx(waits)


def test_wrong_credentials_are_tried_once_a_day_in_the_end() -> None:
    assert WAITS.after(Failure.WRONG_CREDENTIALS).wait_s(1000, 0.0) == 24 * HOUR


def test_after_no_answer_the_wait_is_spread_over_its_upper_half() -> None:
    wait = WAITS.after(Failure.UNREACHABLE)
    assert (wait.wait_s(1, 0.0), wait.wait_s(1, 0.5)) == (15, 22.5)


@given(st.sampled_from(Failure), st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_never_shorter_than_half_the_first_nor_longer_than_the_limit(
    failure: Failure, failures: int, chance: float
) -> None:
    backoff = WAITS.after(failure)
    assert backoff.first_s / 2 <= backoff.wait_s(failures, chance) <= backoff.limit_s


@given(st.integers(1, 7 * 24 * HOUR), st.floats(0, 1, exclude_max=True))
def test_a_refresh_begins_at_70_to_80_per_cent_of_what_was_granted(
    granted_s: int, chance: float
) -> None:
    assert 0.7 * granted_s <= WAITS.refresh_s(granted_s, chance) <= 0.8 * granted_s
