"""The MACs between edge and agent."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from whence.core.mac import is_same
from whence.ipc.headers import (
    TlsReject,
    reply_mac,
    request_mac,
    tls_reject_message,
    tls_reject_reason,
)

FOR_ANOTHER = TlsReject.CERTIFICATE_FOR_ANOTHER_NAME
TRANSPORT = TlsReject.ANSWERED_OVER_ANOTHER_TRANSPORT

KEY, OTHER_KEY = "11" * 32, "22" * 32

REQUEST = ("REGISTER", "call-1", "7", "sip:192.0.2.1:5060", "udp:192.0.2.9:5060")


def test_request_mac_depends_on_the_key() -> None:
    assert is_same(request_mac(KEY, *REQUEST), request_mac(KEY, *REQUEST))
    assert not is_same(request_mac(KEY, *REQUEST), request_mac(OTHER_KEY, *REQUEST))


def test_request_mac_covers_each_part() -> None:
    written = request_mac(KEY, *REQUEST)
    for place in range(len(REQUEST)):
        changed = list(REQUEST)
        changed[place] += "x"
        assert not is_same(written, request_mac(KEY, *changed))


def test_reply_mac_covers_each_part() -> None:
    written = reply_mac(KEY, "call-1", "7", 200, "udp:192.0.2.1:5060")
    assert not is_same(written, reply_mac(KEY, "call-2", "7", 200, "udp:192.0.2.1:5060"))
    assert not is_same(written, reply_mac(KEY, "call-1", "8", 200, "udp:192.0.2.1:5060"))
    assert not is_same(written, reply_mac(KEY, "call-1", "7", 401, "udp:192.0.2.1:5060"))
    assert not is_same(written, reply_mac(KEY, "call-1", "7", 200, "udp:192.0.2.2:5060"))
    assert not is_same(written, reply_mac(OTHER_KEY, "call-1", "7", 200, "udp:192.0.2.1:5060"))


def test_request_mac_differs_from_reply_mac() -> None:
    assert request_mac(KEY, "", "", "", "", "") != reply_mac(KEY, "", "", 0, "")


@given(*[st.lists(st.text(max_size=8), min_size=5, max_size=5) for _ in range(2)])
def test_request_mac_differs_between_requests(one: list[str], other: list[str]) -> None:
    assume(one != other)
    assert request_mac(KEY, *one) != request_mac(KEY, *other)


@given(st.text(max_size=8), st.text(max_size=8), st.integers(1, 7))
def test_request_mac_covers_the_border_between_parts(left: str, right: str, by: int) -> None:
    assume(len(left) >= by)
    moved = request_mac(KEY, "REGISTER", left[:-by], left[-by:] + right, "", "")
    assert moved != request_mac(KEY, "REGISTER", left, right, "", "")


@given(st.text(), st.text())
def test_is_same_compares_the_text(one: str, other: str) -> None:
    assert is_same(one, other) == (one == other)


@pytest.mark.parametrize(
    ("code", "detail", "message"),
    [
        (FOR_ANOTHER, "other.example", "its certificate is for other.example, not one.example"),
        (FOR_ANOTHER, "", "its certificate is for no name, not one.example"),
        (FOR_ANOTHER, "*.example", "its certificate is for *.example, not one.example"),
        (TRANSPORT, "udp", "a request over TLS was answered over udp"),
    ],
)
def test_tls_reject_reason_has_a_message(code: TlsReject, detail: str, message: str) -> None:
    assert tls_reject_message(tls_reject_reason(code, detail), "one.example") == message


@given(st.text())
def test_tls_reject_reason_escapes_the_detail(detail: str) -> None:
    value = tls_reject_reason(FOR_ANOTHER, detail)
    assert re.fullmatch(r"certificate_for_another_name;[A-Za-z0-9_.~%*:@-]*", value, re.ASCII)
    assert len(value) <= 3000
