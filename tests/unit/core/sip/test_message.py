"""The header part of a message: a message that parsers could read differently has a fault."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from whence.core.sip.message import Fault, Message, _unfolded

HEAD = "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n"
REST = "Call-ID: c\r\nCSeq: 1 INVITE\r\n"
GOOD = f"{HEAD}{REST}Content-Length: 0\r\n\r\n"

lines = st.text(st.sampled_from("ab:; \t\r\n\0é"), max_size=12)


def test_message_well_formed_has_no_fault() -> None:
    message = Message(GOOD)
    assert message.fault is None
    assert message.request_fault() is None
    assert not message.is_folded
    assert not message.has_extra_octets
    assert message.all("call-id") == ["c"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("a\rb", Fault.LINE_END),
        ("a\nb", Fault.LINE_END),
        ("a\n\rb", Fault.LINE_END),
        ("a\r\r\nb", Fault.LINE_END),
        ("a\r\n\nb", Fault.LINE_END),
        ("a\0b", Fault.NUL),
    ],
)
def test_message_with_a_broken_line_has_a_fault(line: str, fault: Fault) -> None:
    assert Message(f"{HEAD}X: {line}\r\n{REST}\r\n").fault is fault
    assert Message(f"{HEAD}X: {line}\r\n{REST}\r\n".encode()).fault is fault


def test_message_without_an_empty_line_has_a_fault() -> None:
    assert Message(GOOD.removesuffix("\r\n")).fault is Fault.NO_END
    assert Message("").fault is Fault.NO_END


def test_message_with_a_folded_start_line_has_a_fault() -> None:
    assert Message("INVITE sip:b SIP/2.0\r\n Via: x\r\n\r\n").fault is Fault.LINE_END


@given(lines)
@example("a\r\n b")
def test_message_without_fault_has_one_set_of_lines(line: str) -> None:
    message = Message(f"{HEAD}X: {line}\r\n{REST}\r\n")
    if message.fault is None:
        by_lf = [one.removesuffix("\r") for one in message.head.split("\n")]
        by_cr = [one.removeprefix("\n") for one in message.head.split("\r")]
        assert message.head.split("\r\n") == by_lf == by_cr


@pytest.mark.parametrize("name", ["From", "f", "T", "to ", "Call-ID\t", "i", "cseq", "l", "L "])
def test_request_with_a_repeated_header_has_a_fault(name: str) -> None:
    text = GOOD.replace("\r\nVia", f"\r\n{name}: 0\r\nVia")
    assert Message(text).request_fault() is Fault.REPEATED


@pytest.mark.parametrize(
    ("start", "fault"),
    [
        ("INVITE sip:b@h SIP/2.0", None),
        ("INVITE SIPS:b@h sip/2.0", None),
        ("INVITE tel:+4420 SIP/2.0", None),
        ("INVITE sip:b@h SIP/2.0 ", Fault.START_LINE),
        ("INVITE  sip:b@h SIP/2.0", Fault.START_LINE),
        ("INVITE sip:b@h;x y SIP/2.0", Fault.START_LINE),
        ("INVITE <sip:b@h> SIP/2.0", Fault.START_LINE),
        ("INVITE sip:b@h SIP/7.0", Fault.START_LINE),
        ("INVITE h SIP/2.0", Fault.START_LINE),
        ("INVITE 1x:h SIP/2.0", Fault.START_LINE),
        ("INVITE http://h/ SIP/2.0", Fault.SCHEME),
        ("INVITE soap.beep://192.0.2.103:3002 SIP/2.0", Fault.SCHEME),
        ("INVITE nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0", Fault.SCHEME),
    ],
)
def test_request_has_one_start_line_with_a_known_scheme(start: str, fault: Fault | None) -> None:
    assert Message(GOOD.replace("INVITE sip:b@h SIP/2.0", start)).request_fault() is fault


@pytest.mark.parametrize(
    "line", ["Nonsense", "a\r\n : x", ": x", "a b: x", "é: x", '"a": x', "a,b: x"]
)
def test_request_with_a_broken_line_has_a_fault(line: str) -> None:
    text = GOOD.replace("\r\nVia", f"\r\n{line}\r\nVia")
    assert Message(text).request_fault() is Fault.HEADER_NAME
    assert Message(text).has_broken_line


def test_request_may_repeat_other_headers() -> None:
    assert Message(GOOD.replace("\r\nVia", "\r\nv: x\r\nVia")).request_fault() is None


@pytest.mark.parametrize("length", ["1", "-1", "x", "0x0", "9" * 20, "1 2", "", "٠"])
def test_request_with_less_than_its_length_has_a_fault(length: str) -> None:
    text = GOOD.replace("Content-Length: 0", f"Content-Length: {length}")
    assert Message(text).request_fault() is Fault.CONTENT_LENGTH


@given(st.binary(max_size=20), st.integers(0, 20))
def test_message_loses_octets_after_its_body(body: bytes, length: int) -> None:
    head = GOOD.replace("Content-Length: 0", f"Content-Length: {length}").encode()
    try:
        message = Message((head + body).decode())
    except UnicodeDecodeError:
        message = Message(head + body)
    assert message.has_extra_octets == (len(body) > length)
    text = message.rewritten("x-whence") if message.has_extra_octets else None
    if text is not None:
        assert text.encode() == head + body[:length]
        assert not Message(text).has_extra_octets


@given(lines)
def test_message_rewritten_has_a_line_for_each_header(line: str) -> None:
    message = Message(f"{HEAD}X: {line}\r\n{REST}\r\n")
    text = message.rewritten("x-whence") if message.fault is None else None
    if text is not None:
        again = Message(text)
        assert not again.is_folded
        assert again.fault is None
        assert again.head == _unfolded(message.head)


def test_message_rewritten_lacks_headers_of_the_prefix() -> None:
    ours = "X-Whence-Trunk: a\r\n b\r\nx-whence-x \t: c\r\nX-WHENCE: d\r\n"
    text = Message(GOOD.replace("To:", f"{ours}To:")).rewritten("x-whence")
    assert text == GOOD


def test_message_of_bytes_is_rewritten_only_if_it_is_ascii() -> None:
    assert Message(GOOD.replace("To:", "To:\r\n é").encode("latin-1")).rewritten("x-whence") is None
    assert Message(GOOD.replace("To:", "To:\r\n ").encode()).rewritten("x-whence") is not None


def test_extensions_are_the_tags_of_all_headers() -> None:
    text = GOOD.replace("To:", "Proxy-Require: Foo,\r\n b, (c)\r\nproxy-require : d\r\nTo:")
    assert Message(text).extensions_asked_of_proxies == ["Foo", "b", "d"]
    assert Message(GOOD).extensions_asked_of_proxies is None
    assert (
        Message(GOOD.replace("To:", "Proxy-Require2: a\r\nTo:")).extensions_asked_of_proxies is None
    )
    assert Message(GOOD.replace("To:", "Proxy-Require:\r\nTo:")).extensions_asked_of_proxies == []


def test_refusal_repeats_what_an_answer_needs() -> None:
    text = GOOD.replace("From", "f : <sip:x@h>\r\nX: y\r\nv: b\r\nFrom", 1)
    assert Message(text).refusal(400, "No", "t").split("\r\n") == [
        "SIP/2.0 400 No",
        "Via: SIP/2.0/UDP a",
        "v: b",
        "f : <sip:x@h>",
        "To: <sip:b@h>;tag=t",
        "Call-ID: c",
        "CSeq: 1 INVITE",
        "Content-Length: 0",
        "",
        "",
    ]


def test_refusal_keeps_a_tag_and_unfolds() -> None:
    text = GOOD.replace("To: <sip:b@h>", "To: <sip:b@h>\r\n\t; Tag = x")
    assert "To: <sip:b@h> ; Tag = x\r\n" in Message(text).refusal(400, "No", "t")


@pytest.mark.parametrize(
    "to",
    ['"a;tag=1" <sip:b@h>', "<sip:b@h;tag=1>", '<sip:b@h>;x=";tag=1"', '"\\";tag=1" <sip:b@h>'],
)
def test_refusal_of_a_request_without_a_tag_adds_one(to: str) -> None:
    text = GOOD.replace("To: <sip:b@h>", f"To: {to}")
    assert f"To: {to};tag=t\r\n" in Message(text).refusal(400, "No", "t")


@pytest.mark.parametrize(
    "text",
    [
        *[GOOD.replace(f"{name}:", "X:") for name in ("Via", "From", "To", "Call-ID", "CSeq")],
        *[GOOD.replace(f"{name}:", f"{name}: \x07") for name in ("From", "To", "CSeq")],
        GOOD.replace("INVITE sip", "ACK sip"),
        GOOD.replace("INVITE sip", " sip"),
        GOOD.replace("INVITE sip:b@h SIP/2.0", "SIP/2.0 200 OK"),
        "",
    ],
)
def test_refusal_of_what_needs_none_is_empty(text: str) -> None:
    assert Message(text).refusal(400, "No", "t") == ""
