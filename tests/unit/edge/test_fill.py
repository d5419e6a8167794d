"""The called number in a target."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.sip.uri import Uri
from whence.edge.inbound import fill

TARGET = "sip:{number}@192.0.2.9:5070;transport=udp"


def test_a_target_without_the_number_stays_as_it_is() -> None:
    assert fill("sip:alice@edge.example", "+4420") == "sip:alice@edge.example"


@pytest.mark.parametrize("target", ["sip:{number}@pbx", "sip:{number}@pbx;transport=tcp"])
def test_where_nothing_is_called_the_target_has_no_user(target: str) -> None:
    assert fill(target, "+4420") == target.replace("{number}", "+4420")
    assert fill(target, "") == target.replace("{number}@", "")


@given(st.text(min_size=1))
def test_whatever_is_called_the_target_stays_the_same_place(user: str) -> None:
    try:
        filled = fill(TARGET, user)
    except UnicodeEncodeError:
        return  # half a surrogate pair: no header that Kamailio hands over has one
    target = Uri.parse(filled)
    assert target is not None
    assert (target.host, target.port) == ("192.0.2.9", 5070)
    assert target.params == {"transport": "udp"}
    assert not re.search(r"[\s<>\"\x00-\x1f\x7f-\uffff]", filled)
