"""Headers of ours in places where only some parsers see a new line."""

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
def test_smuggles_where_other_parsers_see_a_line_is_true(hidden: str) -> None:
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
def test_smuggles_where_all_parsers_agree_is_false(plain: str) -> None:
    assert not smuggles(plain)


@pytest.mark.parametrize("filler", ["\t", " ", "\r", "x-whence", "\r\n ", "x-whence "])
def test_smuggles_takes_time_linear_in_the_length(filler: str) -> None:
    """Quadratic time would not end within the timeout."""
    smuggles("a: " + filler * 2_000_000 + "b x-whence")
