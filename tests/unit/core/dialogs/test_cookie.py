"""Finding the cookie of a Record-Route in URIs."""

import pytest

from whence.core.dialogs.cookie import COOKIE_LENGTH, PARAM, find_cookie
from whence.core.sip.uri import Uri

COOKIE = "a" + "0a" * (COOKIE_LENGTH // 2)


def uri(params: str) -> Uri | None:
    return Uri.parse(f"sip:192.0.2.1;lr{params}")


def test_first_uri_with_a_cookie_counts() -> None:
    other = f";{PARAM}={COOKIE.replace('a', 'b')}"
    assert find_cookie([None, uri(""), uri(f";{PARAM}={COOKIE}"), uri(other)]) == COOKIE


@pytest.mark.parametrize(
    "value", ["", COOKIE[1:], COOKIE + "0", COOKIE.upper(), "x" * COOKIE_LENGTH]
)
def test_other_value_is_no_cookie(value: str) -> None:
    assert find_cookie([uri(f";{PARAM}={value}")]) is None
