"""The called number in a target."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.address import Source
from whence.core.identify import Request
from whence.core.uri import Uri
from whence.edge.route import fill

TARGET = "sip:{number}@192.0.2.9:5070;transport=udp"


def request(user: str, to: str | None = None) -> Request:
    called = Uri("sip", user, "edge.example")
    return Request(Source.parse("udp:192.0.2.1:5060"), called, Uri.parse(to) if to else None)


def test_a_target_without_the_number_stays_as_it_is() -> None:
    assert fill("sip:alice@edge.example", request("+4420")) == "sip:alice@edge.example"


@pytest.mark.parametrize(
    ("user", "to", "number"),
    [
        ("+44 (20) 71", None, "+442071"),
        ("token", "sip:+4420@x", "+4420"),
        ("sales", "sip:shop@x", "sales"),
        ("+4420", "sip:+4930@x", "+4420"),
    ],
)
def test_it_is_the_number_that_is_called_or_else_the_user(
    user: str, to: str | None, number: str
) -> None:
    assert fill("sip:{number}@pbx", request(user, to)) == f"sip:{number}@pbx"


@given(st.text(min_size=1))
def test_whatever_is_called_the_target_stays_the_same_place(user: str) -> None:
    try:
        filled = fill(TARGET, request(user))
    except UnicodeEncodeError:
        return  # half a surrogate pair: no header that Kamailio hands over has one
    target = Uri.parse(filled)
    assert target is not None
    assert (target.host, target.port) == ("192.0.2.9", 5070)
    assert target.params == {"transport": "udp"}
    assert not re.search(r"[\s<>\"\x00-\x1f\x7f-\uffff]", filled)
