"""The parts of a SIP or tel URI."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from whence.core.sip.uri import Uri, escape_user, host_text


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("sip:alice@edge.example", Uri("sip", "alice", "edge.example")),
        ("SIP:alice@EDGE.example", Uri("sip", "alice", "edge.example")),
        (" sips:alice@edge.example:5061 ", Uri("sips", "alice", "edge.example", 5061)),
        ("sip:edge.example", Uri("sip", "", "edge.example")),
        ("sip:192.0.2.1:5060", Uri("sip", "", "192.0.2.1", 5060)),
        ("sip:a@[2001:DB8::1]", Uri("sip", "a", "2001:db8::1")),
        ("sip:a@[2001:db8::1]:5060", Uri("sip", "a", "2001:db8::1", 5060)),
        ("sip:alice:pass@edge.example", Uri("sip", "alice", "edge.example")),
        ("sip:%61lice@edge.example", Uri("sip", "alice", "edge.example")),
        ("sip:a;b@edge.example", Uri("sip", "a;b", "edge.example")),
        ("sip:a?b@edge.example?Subject=x", Uri("sip", "a?b", "edge.example")),
        ("sip:edge.example?Subject=x", Uri("sip", "", "edge.example")),
        ("tel:+44-20-7123", Uri("tel", "+44-20-7123", "")),
    ],
)
def test_uri_is_split_into_its_parts(text: str, uri: Uri) -> None:
    assert Uri.parse(text) == uri


def test_uri_params_ignore_case_and_keep_the_first() -> None:
    uri = Uri.parse("sip:a@h;LINE=one;line=two;lr;Transport=tcp;x=%41")
    assert uri is not None
    assert uri.params == {"line": "one", "lr": "", "transport": "tcp", "x": "A"}


def test_tel_uri_params_are_not_in_the_number() -> None:
    uri = Uri.parse("tel:7123;phone-context=+44")
    assert uri is not None
    assert (uri.user, uri.params) == ("7123", {"phone-context": "+44"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip",
        "sip:",
        "alice@edge.example",
        "http://edge.example",
        "sip:@edge.example",
        "sip:alice@",
        "sip:alice@:5060",
        "sip:a@h:",
        "sip:a@h:0",
        "sip:a@h:65536",
        "sip:a@h:+5060",
        "sip:a@h:5060x",
        "sip:a@[2001:db8::1",
        "sip:a@[2001:db8::1]5060",
        "tel:",
    ],
)
def test_uri_of_other_text_is_none(text: str) -> None:
    assert Uri.parse(text) is None


@pytest.mark.parametrize(
    "text",
    ["sip:token@acme@edge.example", "sip:a@b@c", "sip:a@h;line=x@y", "sip:a@h?x=@"],
)
def test_uri_with_two_at_signs_is_none(text: str) -> None:
    assert Uri.parse(text) is None


def test_uri_with_an_escaped_at_sign_has_it_in_the_user() -> None:
    uri = Uri.parse("sip:a%40b@edge.example")
    assert uri is not None
    assert (uri.user, uri.host) == ("a@b", "edge.example")


def test_uri_port_has_at_most_five_digits() -> None:
    assert Uri.parse("sip:a@h:65535") == Uri("sip", "a", "h", 65535)
    assert Uri.parse("sip:a@h:000005060") is None
    assert Uri.parse("sip:a@h:1" + "0" * 5000) is None


@pytest.mark.parametrize(
    ("header", "user"),
    [
        ("<sip:alice@h>;tag=1", "alice"),
        ('"Alice" <sip:alice@h>', "alice"),
        ('"<sip:mallory@h>" <sip:alice@h>', "alice"),
        ('"a \\" <sip:mallory@h>" <sip:alice@h>', "alice"),
        ("Alice <sip:alice@h;line=x>", "alice"),
        ("sip:alice@h;tag=1", "alice"),
    ],
)
def test_uri_of_header_ignores_the_display_name(header: str, user: str) -> None:
    uri = Uri.of_header(header)
    assert uri is not None
    assert uri.user == user


def test_uri_of_header_drops_params_after_a_bare_uri() -> None:
    bare, bracketed = Uri.of_header("sip:a@h;line=x"), Uri.of_header("<sip:a@h;line=x>;tag=1")
    assert bare is not None and bare.params == {}
    assert bracketed is not None and bracketed.params == {"line": "x"}


@given(st.text())
@example("sip:a@h:00001" + "0" * 5000)
def test_uri_of_any_text_never_raises(text: str) -> None:
    for written in (text, "sip:" + text, "tel:" + text, f"sip:{text}@h", f"sip:a@{text}"):
        Uri.parse(written)
        Uri.of_header(written)


@given(st.text(min_size=1))
def test_escape_user_is_read_back_as_the_same_user(text: str) -> None:
    assert Uri.parse(f"sip:{escape_user(text)}@edge.example") == Uri("sip", text, "edge.example")


@given(st.text())
def test_escape_user_leaves_no_delimiter(text: str) -> None:
    assert not set(escape_user(text)) & set('@:;?/<>" \r\n\t')


def test_host_text_of_ipv6_has_brackets() -> None:
    assert (host_text("2001:db8::1"), host_text("192.0.2.1")) == ("[2001:db8::1]", "192.0.2.1")
