"""What requests and late answers get at the other side of a call."""

import pytest

from whence.core.outbound.caller import Caller
from whence.core.outbound.cseq import outward
from whence.core.outbound.identity import identity
from whence.core.outbound.model import NumberHeader, OutboundTrunk, OutboundUser
from whence.core.outbound.numbers import Called
from whence.core.outbound.rewriting import (
    DialogRequest,
    header_text,
    initial_lines,
    is_tag,
    is_to_trunk,
    late_answer_lines,
    request_lines,
    tries_of,
)
from whence.core.outbound.route_state import Kind, RouteState

TRUNK = OutboundTrunk("acme", "acct1", "provider.example", number_header=NumberHeader.ASSERTED)
BERLIN = "+493012345678"
PHONE_FROM, PHONE_TO = "sip:alice@edge.example", f"sip:{BERLIN}@edge.example"
OUR, THEIR = "sip:acct1@provider.example", f"sip:{BERLIN}@provider.example"
OUT = RouteState(Kind.OUT, "alice", "acme", 10, 1, "acct1", BERLIN, PHONE_FROM, PHONE_TO)
IN = RouteState(Kind.IN, "alice", "acme")
LOCAL = RouteState(Kind.LOCAL, "alice")


def test_initial_lines_have_trunk_values() -> None:
    found = identity(TRUNK, Caller(OutboundUser("alice")), Called(BERLIN))
    assert found is not None
    assert initial_lines(found, 10, 1, "a1") == (
        ("From", f"<{OUR}>;tag=a1"),
        ("To", f"<{THEIR}>"),
        ("CSeq", f"{outward(10, 1)} INVITE"),
        ("P-Asserted-Identity", f"<{OUR}>"),
    )


def test_request_of_phone_gets_trunk_values() -> None:
    request = DialogRequest("BYE", 11, "a1", "b2")
    assert request_lines(OUT, request, TRUNK, from_caller=True, tries=2) == (
        ("From", f"<{OUR}>;tag=a1"),
        ("To", f"<{THEIR}>;tag=b2"),
        ("CSeq", f"{outward(11, 2)} BYE"),
    )


def test_request_of_trunk_gets_phone_values() -> None:
    request = DialogRequest("BYE", 4, "b2", "a1")
    assert request_lines(OUT, request, TRUNK, from_caller=False, tries=0) == (
        ("From", f"<{PHONE_TO}>;tag=b2"),
        ("To", f"<{PHONE_FROM}>;tag=a1"),
    )


def test_request_of_called_phone_has_cseq_of_trunk() -> None:
    request = DialogRequest("INFO", 3, "b2", "a1")
    assert request_lines(IN, request, TRUNK, from_caller=False, tries=1) == (
        ("CSeq", f"{outward(3, 1)} INFO"),
    )
    assert request_lines(IN, request, TRUNK, from_caller=True, tries=0) == ()


@pytest.mark.parametrize("from_caller", [True, False])
def test_request_between_users_is_not_changed(from_caller: bool) -> None:
    request = DialogRequest("INFO", 3, "b2", "a1", "1 3 INVITE")
    assert request_lines(LOCAL, request, None, from_caller=from_caller, tries=0) == ()
    assert late_answer_lines(LOCAL, request, None, from_caller=from_caller) == ()
    assert not is_to_trunk(LOCAL, from_caller=from_caller)


def test_rack_names_number_at_trunk() -> None:
    request = DialogRequest("PRACK", 11, "a1", "b2", "776 10 INVITE")
    lines = request_lines(
        OUT, request, TRUNK, from_caller=True, tries=0, rack_tries=tries_of(OUT, 10, None)
    )
    assert dict(lines)["RAck"] == f"776 {outward(10, 1)} INVITE"


def test_rack_of_trunk_or_odd_form_is_not_changed() -> None:
    odd = DialogRequest("PRACK", 11, "a1", "b2", "x")
    assert "RAck" not in dict(request_lines(OUT, odd, TRUNK, from_caller=True, tries=0))
    of_trunk = DialogRequest("PRACK", 11, "b2", "a1", "776 10 INVITE")
    assert "RAck" not in dict(request_lines(OUT, of_trunk, TRUNK, from_caller=False, tries=0))


def test_ack_has_try_of_its_invite() -> None:
    assert tries_of(OUT, 10, None) == 1
    assert tries_of(OUT, 10, 3) == 1
    assert tries_of(OUT, 12, None) == 0
    assert tries_of(OUT, 12, 2) == 2
    assert tries_of(IN, 0, 2) == 2
    assert tries_of(IN, 0, None) == 0


def test_late_answer_to_phone_gets_its_values() -> None:
    answer = DialogRequest("INVITE", outward(10, 1), "a1", "b2")
    assert late_answer_lines(OUT, answer, TRUNK, from_caller=True) == (
        ("From", f"<{PHONE_FROM}>;tag=a1"),
        ("To", f"<{PHONE_TO}>;tag=b2"),
        ("CSeq", "10 INVITE"),
    )


def test_late_answer_to_trunk_gets_its_values() -> None:
    answer = DialogRequest("INVITE", 4, "b2", "a1")
    assert late_answer_lines(OUT, answer, TRUNK, from_caller=False) == (
        ("From", f"<{THEIR}>;tag=b2"),
        ("To", f"<{OUR}>;tag=a1"),
    )


def test_call_of_removed_trunk_keeps_phone_private() -> None:
    request = DialogRequest("BYE", 4, "b2", "a1")
    lines = request_lines(OUT, request, None, from_caller=False, tries=0)
    assert dict(lines)["To"] == f"<{PHONE_FROM}>;tag=a1"
    request = DialogRequest("BYE", 11, "a1", "b2")
    assert request_lines(OUT, request, None, from_caller=True, tries=0) == (
        ("From", "<sip:anonymous@anonymous.invalid>;tag=a1"),
        ("To", "<sip:anonymous@anonymous.invalid>;tag=b2"),
        ("CSeq", f"{outward(11, 0)} BYE"),
    )


@pytest.mark.parametrize(
    "tag", ["a>", "a, <sip:boss@edge.example>", "a;tag=b", "a\r\nX: y", '"a"', "a" * 257]
)
def test_tag_that_is_no_token_is_refused(tag: str) -> None:
    found = identity(TRUNK, Caller(OutboundUser("alice")), Called(BERLIN))
    assert found is not None
    assert not is_tag(tag)
    with pytest.raises(ValueError, match="not a token"):
        initial_lines(found, 10, 1, tag)
    for request in (DialogRequest("BYE", 1, tag, "b2"), DialogRequest("BYE", 1, "a1", tag)):
        with pytest.raises(ValueError, match="not a token"):
            request_lines(OUT, request, TRUNK, from_caller=True, tries=0)
        with pytest.raises(ValueError, match="not a token"):
            late_answer_lines(OUT, request, TRUNK, from_caller=True)


def test_header_text_has_one_line_for_each() -> None:
    assert header_text([("A", "1"), ("B", "2")]) == "A: 1\r\nB: 2\r\n"
    assert header_text([]) == ""
