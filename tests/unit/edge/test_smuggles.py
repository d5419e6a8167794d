"""A header of ours where only some parsers see the begin of a line."""

import pytest

from whence.edge.base import smuggles


@pytest.mark.parametrize(
    "hidden",
    [
        "a\rx-whence-trunk: b",
        "a\r x-whence-trunk: b",
        "a\r\n x-whence-trunk: b",
        "a\r\n\tx-whence-trunk: b",
        "a \t x-whence-trunk: b",
        "a\x00x-whence-trunk: b",
        "a\x0bx-whence-trunk: b",
        "a\x85x-whence-trunk: b",
        "a\u2028x-whence-trunk: b",
        "\r\nx-whence-trunk: b\r\nsubject: c\rx-whence-mac: d",
    ],
)
def test_what_may_be_the_begin_of_a_line_to_others_is_seen(hidden: str) -> None:
    assert smuggles(hidden)


@pytest.mark.parametrize(
    "plain",
    [
        "",
        "subject: of x-whence",
        "subject:x-whence",
        "x-whence",
        "a\r\nx-whence-trunk: b\r\nx-whence-trunk: c\r\n",
        "a\nx-whence-trunk: b",
        "a: x-whence x-whence x-whence",
        "a\rb: c",
    ],
)
def test_what_kamailio_reads_as_others_do_is_no_matter(plain: str) -> None:
    assert not smuggles(plain)


@pytest.mark.parametrize("filler", ["\t", " ", "\r", "x-whence", "\r\n ", "x-whence "])
def test_it_costs_what_the_message_is_long_and_never_its_square(filler: str) -> None:
    """With the square of it this would not end."""
    smuggles("a: " + filler * 2_000_000 + "b x-whence")
