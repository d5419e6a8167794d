"""Telephone numbers and their spellings."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.sip.phone_number import (
    LONGEST,
    Format,
    Style,
    account_spellings,
    bare,
    called,
    closeness,
    owns,
    written,
)
from whence.core.sip.uri import Uri


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
def test_bare_removes_separators(written: str, left: str) -> None:
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
def test_bare_of_other_characters_is_none(text: str) -> None:
    assert bare(text) is None


@given(st.text())
def test_bare_of_any_text_has_only_digits(text: str) -> None:
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
        # local to a global context: joined with it (RFC 3966 5.1.5)
        ("tel:2071234567;phone-context=+44", "+442071234567"),
        ("tel:7123-4567;phone-context=+44-20", "+442071234567"),
        ("sip:2071234567;phone-context=+44@edge.example;user=phone", "+442071234567"),
        ("sip:2071234567;phone-context=%2B44@edge.example", "+442071234567"),
        ("sip:2071234567@edge.example;phone-context=+44;user=phone", "+442071234567"),
        # local to a domain, or to an unknown context: as written
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
def test_called_reads_each_form_of_a_number(uri: str, number: str | None) -> None:
    parsed = Uri.parse(uri)
    assert parsed is not None
    assert called(parsed) == number


@given(st.text(min_size=1), st.text())
def test_called_of_any_uri_is_bare_or_none(user: str, context: str) -> None:
    try:
        text = f"sip:{quote(user)};phone-context={quote(context)}@h"
    except UnicodeEncodeError:
        return  # a lone surrogate: Kamailio passes no header with one
    parsed = Uri.parse(text)
    assert parsed is not None
    number = called(parsed)
    assert number is None or bare(number) == number


def test_owns_is_true_for_the_number_and_its_prefixes() -> None:
    number = "+442071234567"
    owning = [number, "+4420712345*", "+4420*"]
    assert all(owns(one, number) for one in owning)
    assert not any(owns(one, number) for one in ["442071234567", "4420*", "+44207123456", "+4421*"])
    assert sorted(owning, key=closeness, reverse=True) == owning


def test_owns_of_a_prefix_includes_its_own_digits() -> None:
    assert owns("+4420712345*", "+4420712345")
    assert not owns("+4420712345*", "+442071234")
    assert closeness("+4420712345") > closeness("+4420712345*")


@pytest.mark.parametrize("account", ["4930222", "+4930222", "004930222"])
def test_account_spellings_of_a_number_has_each_form(account: str) -> None:
    assert account_spellings(account) == {"4930222", "+4930222", "004930222"}


@pytest.mark.parametrize("account", ["acct1", "100", "030222", "+0123456", "4420*", "", "49a30222"])
def test_account_spellings_of_other_text_is_the_text(account: str) -> None:
    assert account_spellings(account) == {account}


BRITAIN, GERMANY = ("44", "0", "00"), ("49", "0", "00")
AMERICA, NOWHERE = ("1", "1", "011"), ("", "", "00")


@pytest.mark.parametrize(
    ("number", "e164", "country", "expected"),
    [
        ("02071234567", "+442071234567", BRITAIN, ("+442071234567", "02071234567", "442071234567")),
        ("2071234567", "+442071234567", BRITAIN, ("+442071234567", "02071234567", "442071234567")),
        # A number that the trunk does not own: its prefix names the country.
        ("02071234567", "", BRITAIN, ("+442071234567", "02071234567", "442071234567")),
        ("00442071234567", "", GERMANY, ("+442071234567", "00442071234567", "442071234567")),
        ("+4930222", "", GERMANY, ("+4930222", "030222", "4930222")),
        ("12125551234", "", AMERICA, ("+12125551234", "12125551234", "12125551234")),
        ("01149301234", "", AMERICA, ("+49301234", "01149301234", "49301234")),
        # Its country is unknown: it stays as sent.
        ("2071234567", "", BRITAIN, ("2071234567", "2071234567", "2071234567")),
        ("100", "", BRITAIN, ("100", "100", "100")),
        ("0100", "", BRITAIN, ("0100", "0100", "0100")),
        ("02071234567", "", NOWHERE, ("02071234567", "02071234567", "02071234567")),
    ],
)
def test_written_uses_each_format(
    number: str, e164: str, country: tuple[str, str, str], expected: tuple[str, str, str]
) -> None:
    formats = (Format.E164, Format.NATIONAL, Format.PLAIN)
    assert tuple(written(number, e164, Style(one, *country)) for one in formats) == expected
    assert written(number, e164, Style(Format.AS_SENT, *country)) == number


def test_style_is_read_as_it_was_written() -> None:
    style = Style(Format.NATIONAL, "44", "0", "00")
    assert Style.parse(str(style)) == style
    assert Style.parse("") == Style()
