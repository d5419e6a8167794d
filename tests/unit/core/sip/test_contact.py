"""Contacts as registrars list them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.sip.contact import LISTED_LIMIT, Contact, listed
from whence.core.sip.grammar import parse_seconds
from whence.core.sip.uri import Uri

ACME = Uri("sip", "acme", "192.0.2.1", 5060)


@pytest.mark.parametrize(
    ("header", "contacts"),
    [
        ("<sip:acme@192.0.2.1:5060>;expires=60", [Contact(ACME, 60)]),
        ("sip:acme@192.0.2.1:5060;expires=60", [Contact(ACME, 60)]),
        ("<sip:acme@192.0.2.1:5060>", [Contact(ACME)]),
        ('"a, <b>\\", c" <sip:acme@192.0.2.1:5060>;EXPIRES = 7;q=0.5', [Contact(ACME, 7, 0.5)]),
        (
            "<sip:a,b@192.0.2.1>;expires=1,<sip:acme@192.0.2.1:5060>;q=1;expires=2",
            [Contact(Uri("sip", "a,b", "192.0.2.1"), 1), Contact(ACME, 2)],
        ),
        (
            "<sip:acme@192.0.2.1:5060;expires=60>;expires=0",
            [Contact(Uri("sip", "acme", "192.0.2.1", 5060, {"expires": "60"}), 0)],
        ),
        ("*", [Contact(Uri("", "", ""))]),
        ("garbage, <>", [Contact(Uri("", "", "")), Contact(Uri("", "", ""))]),
        ("", []),
        (" , ", [Contact(Uri("", "", ""))]),
    ],
)
def test_listed_splits_a_header_at_its_commas(header: str, contacts: list[Contact]) -> None:
    assert listed(header) == contacts


@given(st.text())
def test_listed_of_any_text_never_raises(header: str) -> None:
    assert len(listed(header)) <= header.count(",") + 1


def test_listed_of_a_long_header_stops_at_the_limit() -> None:
    assert len(listed("<sip:a@b>," * 100_000)) == LISTED_LIMIT


@pytest.mark.parametrize(
    ("text", "number"),
    [("60", 60), (" 60;x", 60), ("", None), (None, None), ("-1", None), ("9" * 10, 2**31)],
)
def test_seconds_are_read_up_to_a_limit(text: str | None, number: int | None) -> None:
    assert parse_seconds(text) == number
