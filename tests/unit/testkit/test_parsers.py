"""The readers of headers: each accepts its own line ends, and together they accept all."""

import pytest

from testkit.parsers import READERS, SHORT, WHOLE, fields

HEAD = b"INVITE sip:a@b SIP/2.0\r\nCall-ID: 1\r\n"
END = b"X-Whence-Trunk: ours\r\n\r\n"
NAME = "X-Whence-Trunk"

HIDDEN = {
    "LF": b"S: a\nX-Whence-Trunk: forged\r\n",
    "LF, no CR": b"S: a\nX-Whence\r-Trunk: forged\r\n",
    "CR": b"S: a\rX-Whence-Trunk: forged\r\n",
    "CR or LF": b"S: a\n\tb\rx-whence-trunk: forged\r\n",
    "controls": b"S: a\x0bX-Whence-Trunk: forged\r\n",
    "controls in UTF-8": b"S: a\xe2\x80\xa8X-Whence-Trunk: forged\r\n",
    "unfolded": b"S: a\r\n X-Whence-Trunk: forged\r\n",
    "unfolded, controls": b"S: a\x0c\tX-Whence-Trunk: forged\r\n",
    "strict": b"S: a\r\nX-Whence-Trunk: forged\r\n",
}


@pytest.mark.parametrize("reader", READERS)
def test_reader_of_a_plain_message_returns_its_headers(reader: str) -> None:
    plain = b"SIP/2.0 200 OK\r\nS: a\r\n b\r\nx-whence-TRUNK : ours\r\n\r\nX-Whence-Trunk: no\r\n"
    assert fields(READERS[reader], plain, NAME) == ["ours"]


@pytest.mark.parametrize("reader", WHOLE)
def test_reader_returns_the_header_hidden_for_it(reader: str) -> None:
    seen = fields(READERS[reader], HEAD + HIDDEN[reader] + END, NAME)
    assert sorted(seen) == ["forged", "ours"]


@pytest.mark.parametrize("hidden", HIDDEN)
def test_hidden_header_is_returned_by_some_reader(hidden: str) -> None:
    seen = {
        value for r in READERS.values() for value in fields(r, HEAD + HIDDEN[hidden] + END, NAME)
    }
    assert "forged" in seen


ENDS = {
    "to a NUL": b"S: \0\r\n",
    "to a blank line": b"S: a\r\n \r\n",
    "to two controls": b"S: a\x0b\x0bb\r\n",
    "aiosipua": b"S: a\r\n" * 300,
}


@pytest.mark.parametrize("reader", SHORT)
def test_short_reader_misses_later_headers(reader: str) -> None:
    assert fields(READERS[reader], HEAD + ENDS[reader] + END, NAME) == []


def test_header_after_an_lf_is_returned_by_other_readers() -> None:
    """Kamailio ends the headers at the line that begins with a CR, and puts ours before it."""
    data = HEAD + b"X-a: b\n" + END[:-2] + b"\rS: b\r\nX-Whence-Trunk: forged\r\n\r\n"
    for name in ("strict", "LF", "unfolded"):
        assert "forged" in fields(READERS[name], data, NAME), name
