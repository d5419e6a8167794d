"""Telephone numbers, compared by form."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.number import LONGEST, bare, called, closeness, owns
from whence.core.uri import Uri


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
    [
        "",
        "+",
        "++44",
        "44+20",
        "alice",
        "44x",
        "-",
        "+-",
        "٤٤",
        "4\n4",
        "44;x=y",
        "4" * (LONGEST + 1),
    ],
)
def test_what_has_other_characters_is_no_number(text: str) -> None:
    assert bare(text) is None


@given(st.text())
def test_reading_a_number_never_raises_and_leaves_nothing_but_digits(text: str) -> None:
    number = bare(text)
    assert number is None or set(number) <= set("+0123456789")


@pytest.mark.parametrize(
    ("uri", "number"),
    [
        ("sip:+442071234567@edge.example", "+442071234567"),
        ("sip:%2B442071234567@edge.example;user=phone", "+442071234567"),
        ("sip:+44-20-7123.4567@edge.example", "+442071234567"),
        ("sip:+44(0)2071234567@edge.example", "+4402071234567"),
        ("sip:+44%20(20)%207123%204567@edge.example", "+442071234567"),
        ("tel:+44-20-7123-4567", "+442071234567"),
        ("tel:+44-20-7123-4567;isub=1;ext=2", "+442071234567"),
        ("sips:02071234567:password@edge.example", "02071234567"),
        ("sip:+442071234567;npdi;rn=+447000@edge.example;user=phone", "+442071234567"),
        ("sip:+442071234567;phone-context=+1@edge.example", "+442071234567"),
        # local to a global context: the two together (RFC 3966 5.1.5)
        ("tel:2071234567;phone-context=+44", "+442071234567"),
        ("tel:7123-4567;phone-context=+44-20", "+442071234567"),
        ("sip:2071234567;phone-context=+44@edge.example;user=phone", "+442071234567"),
        ("sip:2071234567;phone-context=%2B44@edge.example", "+442071234567"),
        ("sip:2071234567@edge.example;phone-context=+44;user=phone", "+442071234567"),
        # local to a domain, or to nothing that is known: as it is written
        ("tel:02071234567;phone-context=provider.example", "02071234567"),
        ("sip:100;phone-context=pbx.example@edge.example", "100"),
        ("sip:100;phone-context@edge.example", "100"),
        ("sip:100;phone-context=+x@edge.example", None),
        ("sip:alice;phone-context=+44@edge.example", None),
        ("sip:;phone-context=+44@edge.example", None),
        ("sip:edge.example", None),
        ("tel:7042;phone-context=+" + "1" * LONGEST, None),
    ],
)
def test_a_uri_calls_a_number_however_a_provider_writes_it(uri: str, number: str | None) -> None:
    parsed = Uri.parse(uri)
    assert parsed is not None
    assert called(parsed) == number


@given(st.text(min_size=1), st.text())
def test_whatever_a_uri_says_it_calls_a_bare_number_or_none(user: str, context: str) -> None:
    try:
        text = f"sip:{quote(user)};phone-context={quote(context)}@h"
    except UnicodeEncodeError:
        return  # half a surrogate pair: no header that Kamailio hands over has one
    parsed = Uri.parse(text)
    assert parsed is not None
    number = called(parsed)
    assert number is None or bare(number) == number


def test_a_number_is_owned_by_itself_and_by_the_ranges_that_it_begins_like() -> None:
    number = "+442071234567"
    owning = [number, "+4420712345*", "+4420*"]
    assert all(owns(one, number) for one in owning)
    assert not any(owns(one, number) for one in ["442071234567", "4420*", "+44207123456", "+4421*"])
    assert sorted(owning, key=closeness, reverse=True) == owning


def test_a_range_holds_the_number_that_is_no_longer_than_it_begins() -> None:
    assert owns("+4420712345*", "+4420712345")
    assert not owns("+4420712345*", "+442071234")
    assert closeness("+4420712345") > closeness("+4420712345*")
