"""The called number in a target."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.sip.uri import Uri
from whence.edge.inbound import fill

TARGET = "sip:{number}@192.0.2.9:5070;transport=udp"


def test_fill_of_a_target_without_number_keeps_it() -> None:
    assert fill("sip:alice@edge.example", "+4420") == "sip:alice@edge.example"


@pytest.mark.parametrize("target", ["sip:{number}@pbx", "sip:{number}@pbx;transport=tcp"])
def test_fill_without_a_number_removes_the_user_part(target: str) -> None:
    assert fill(target, "+4420") == target.replace("{number}", "+4420")
    assert fill(target, "") == target.replace("{number}@", "")


@given(st.text(min_size=1))
def test_fill_of_any_number_keeps_host_and_params(user: str) -> None:
    try:
        filled = fill(TARGET, user)
    except UnicodeEncodeError:
        return  # a lone surrogate: Kamailio passes no header with one
    target = Uri.parse(filled)
    assert target is not None
    assert (target.host, target.port) == ("192.0.2.9", 5070)
    assert target.params == {"transport": "udp"}
    assert not re.search(r"[\s<>\"\x00-\x1f\x7f-\uffff]", filled)


@pytest.mark.parametrize(
    ("target", "filled"),
    [
        ("sip:a{number}@pbx", "sip:a@pbx"),
        ("sip:a:{number}@pbx", "sip:a:@pbx"),
        ("sip:{number};x=y@pbx", "sip:;x=y@pbx"),
        ("sips:{number}@pbx:5061", "sips:pbx:5061"),
    ],
)
def test_fill_without_a_number_keeps_the_host(target: str, filled: str) -> None:
    assert fill(target, "") == filled
