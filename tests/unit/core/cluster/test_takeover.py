"""CSeq and pace of a node that takes up registrations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.cluster.takeover import (
    CSEQ_EPOCH,
    CSEQ_LIMIT,
    cseq_after_rejection,
    cseq_at_take_up,
    pace_share,
)

NOW = 1_800_000_000.5


def test_cseq_at_take_up_is_in_the_band_of_the_time() -> None:
    assert cseq_at_take_up(17, NOW) == 1_800_000_000 - CSEQ_EPOCH


@given(st.integers(0, CSEQ_LIMIT - 1), st.floats(0, 2e9))
def test_cseq_at_take_up_never_falls(stored: int, now: float) -> None:
    assert cseq_at_take_up(stored, now) >= stored


@given(st.floats(1.7e9, 1.9e9), st.floats(0, 1e6), st.integers(0, 10**6))
def test_cseq_of_a_later_holder_is_above_the_former(
    taken_up_at: float, held_s: float, stored: int
) -> None:
    # One REGISTER a second, and no row of the former holder reached the database.
    last_of_former = cseq_at_take_up(stored, taken_up_at) + int(held_s)

    assert cseq_at_take_up(stored, taken_up_at + held_s + 6) > last_of_former


def test_cseq_after_rejection_skips_numbers() -> None:
    assert cseq_after_rejection(100) == 100 + 65_536


def test_cseq_without_a_number_left_raises() -> None:
    with pytest.raises(OverflowError, match="CSeq"):
        cseq_at_take_up(CSEQ_LIMIT, NOW)
    with pytest.raises(OverflowError, match="CSeq"):
        cseq_after_rejection(CSEQ_LIMIT - 1)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=9), st.floats(0.1, 1000))
def test_pace_shares_together_do_not_exceed_the_rate(held: list[int], rate: float) -> None:
    assert sum(pace_share(rate, n, sum(held)) for n in held) <= rate * (1 + 1e-9)


def test_pace_share_without_slots_is_not_zero() -> None:
    assert pace_share(64.0, 0, 64) == 1.0


def test_pace_share_of_more_slots_than_there_are_raises() -> None:
    with pytest.raises(ValueError, match="65 of 64"):
        pace_share(50.0, 65, 64)
