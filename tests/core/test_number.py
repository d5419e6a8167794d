"""Telephone numbers, compared by form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.number import bare, spellings


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("+442071234567", "+442071234567"),
        ("+44 20 7123-4567", "+442071234567"),
        ("0044 (20) 7123.4567", "00442071234567"),
        ("442071234567", "442071234567"),
        ("100", "100"),
    ],
)
def test_separators_are_no_part_of_a_number(written: str, left: str) -> None:
    assert bare(written) == left


@pytest.mark.parametrize(
    "text",
    ["", "+", "++44", "44+20", "alice", "44x", "-", "+-", "٤٤", "4\n4", "44;x=y"],
)
def test_what_has_other_characters_is_no_number(text: str) -> None:
    assert bare(text) is None


def test_an_international_number_is_found_with_plus_with_00_and_bare() -> None:
    assert spellings("+44 20 7123-4567") == {"+442071234567", "442071234567", "00442071234567"}


def test_a_number_without_plus_is_found_only_as_it_is_written() -> None:
    assert spellings("100") == {"100"}
    assert spellings("020-7123") == {"0207123"}


def test_what_is_no_number_is_refused_and_the_right_form_is_said() -> None:
    with pytest.raises(ValueError, match='"alice" is not a number; write "\\+442071234567"'):
        spellings("alice")


@given(st.text())
def test_reading_a_number_never_raises_and_leaves_nothing_but_digits(text: str) -> None:
    number = bare(text)
    assert number is None or set(number) <= set("+0123456789")


def test_a_number_written_with_00_has_the_spellings_of_one_with_plus() -> None:
    assert spellings("0044 20 7123 4567") == spellings("+442071234567")
