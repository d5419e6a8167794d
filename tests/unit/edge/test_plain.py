"""The quick look: what it accepts, the full reading of a message accepts."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.sip.message import Message
from whence.edge.base import hides
from whence.edge.plain import LENGTH_LIMIT, is_plain_reply, is_plain_request

REQUEST = (
    "BYE sip:a@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2\r\nFrom: <sip:b@x>;tag=1\r\n"
    "To: <sip:a@x>;tag=2\r\nCall-ID: c\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n"
)
REPLY = REQUEST.replace("BYE sip:a@192.0.2.1 SIP/2.0", "SIP/2.0 200 OK", 1)
ODD = ["\r", "\n", "\r\n", "\n\r", "\r\n ", "\r\n\t", "\0", "\t", " ", ":", "\x0b", "\u2028", "ä"]
ODD += ["X-Whence-Trunk: a", "x-WHENCE-", "\r\n\r\n", "a"]


def mutated(text: str) -> st.SearchStrategy[str]:
    """Put odd texts into a message, and cut some of it away."""
    place = st.integers(0, len(text))
    change = st.tuples(place, st.integers(0, 3), st.sampled_from(ODD))

    def apply(changes: list[tuple[int, int, str]]) -> str:
        result = text
        for at, cut, odd in changes:
            result = result[:at] + odd + result[at + cut :]
        return result

    return st.lists(change, max_size=3).map(apply)


@given(mutated(REQUEST))
def test_plain_request_has_no_fault_in_its_lines(raw: str) -> None:
    message = Message(raw)
    if is_plain_request(raw) and "\r\n\r\n" in raw:
        assert message.fault is None
        assert not message.is_folded
        assert not hides(message)


@given(mutated(REPLY))
def test_plain_reply_is_well_formed(raw: str) -> None:
    message = Message(raw)
    if is_plain_reply(raw):
        assert message.fault is None
        assert not hides(message)
        assert "x-whence" not in message.text


def test_ordinary_messages_are_plain() -> None:
    assert is_plain_request(REQUEST)
    assert is_plain_reply(REPLY)
    assert is_plain_reply(REPLY + "v=0\r\n")


@pytest.mark.parametrize("odd", ["a\rb", "a\nb", "a\rb\n", "\0", "X-whence-Trunk", "\r\n\r\rx"])
def test_odd_messages_are_not_plain(odd: str) -> None:
    for text, is_plain in ((REQUEST, is_plain_request), (REPLY, is_plain_reply)):
        assert not is_plain(text.replace("Call-ID: c", f"Call-ID: c{odd}"))
        assert not is_plain("\r\n" + text)


def test_request_longer_than_a_variable_is_not_plain() -> None:
    for letter, size in (("a", LENGTH_LIMIT), ("ä", LENGTH_LIMIT // 2)):
        assert not is_plain_request(re.sub("Call-ID: c", f"Call-ID: {letter * size}", REQUEST))
