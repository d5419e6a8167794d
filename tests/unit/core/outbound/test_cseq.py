"""Sequence numbers at a trunk, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.outbound.cseq import (
    TRIES,
    inward,
    outward,
    parse_rack,
    rack_outward,
    restored,
    shifted,
)
from whence.core.outbound.rounds import ROUNDS_LIMIT

numbers = st.integers(0, 2**31 - 1)
tries = st.integers(0, TRIES - 1)


def test_rounds_of_one_request_have_own_numbers() -> None:
    assert ROUNDS_LIMIT < TRIES


@given(numbers, tries)
def test_outward_number_is_valid_and_names_its_try(number: int, try_: int) -> None:
    out = outward(number, try_)
    assert 0 <= out < 2**31
    assert inward(out) == (number % 2**28, try_)


@given(st.integers(0, 2**28 - 2), tries, tries)
def test_outward_number_of_next_request_is_higher(number: int, first: int, second: int) -> None:
    assert outward(number + 1, second) > outward(number, first)


@given(numbers, tries, st.integers(-1000, 1000))
def test_restored_number_is_that_of_the_phone(number: int, try_: int, offset: int) -> None:
    near = min(max(number + offset, 0), 2**31 - 1)
    assert restored(outward(number, try_), near) == number


@pytest.mark.parametrize(
    ("text", "rack"),
    [
        ("776656 1 INVITE", ("776656", 1, "INVITE")),
        (" 1\t4711  INVITE ", ("1", 4711, "INVITE")),
        ("1 2147483648 INVITE", None),
        ("1 -1 INVITE", None),
        ("1 1", None),
        ("", None),
        ("1 1 INVITE\r\nX: y", None),
    ],
)
def test_parse_rack_reads_grammar_of_rfc_3262(text: str, rack: tuple[str, int, str] | None) -> None:
    assert parse_rack(text) == rack


@given(numbers, numbers, tries)
def test_rack_outward_names_number_of_trunk(response: int, number: int, try_: int) -> None:
    rack = parse_rack(f"{response} {number} INVITE")
    assert rack is not None
    assert rack_outward(rack, try_) == f"{response} {outward(number, try_)} INVITE"


@given(st.integers(0, 2**31 - 1), st.integers(0, 100))
def test_shifted_number_is_higher_or_none(number: int, offset: int) -> None:
    result = shifted(number, offset)
    assert result is None or (result == number + offset < 2**31)
    assert (result is None) == (number + offset >= 2**31)
