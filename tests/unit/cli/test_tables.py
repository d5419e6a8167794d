"""Tables fit the terminal, and cut no value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.cli.tables import Cell, Table

TRUNKS = Table(
    ("trunk", "state", "granted until", "registrar", "why", "Call-ID"),
    [
        (
            "acme",
            "registered",
            Cell("22:03:47 (in 59 min 12 s)", "in 59m12s"),
            "udp:203.0.113.7:5060",
            "granted 3600 s, by the server that was asked for it",
            "8cc39a5e-7f1b-4a42-9d2c-000000000001-of-a-very-long-call-id@203.0.113.7",
        ),
        ("bell", "paused", Cell("-", "-"), "-", "", "none"),
    ],
    "no trunk",
)


def test_table_without_rows_is_a_sentence() -> None:
    assert Table(("a", "b"), [], "no row").render(80) == "no row"


def test_table_in_a_pipe_has_one_line_for_a_row() -> None:
    lines = Table(("trunk", "why"), [("acme", "x" * 4000), ("b", "y")]).render(None).splitlines()
    assert len(lines) == 4
    assert "x" * 4000 in lines[2]


def test_table_that_fits_is_aligned_with_wide_values() -> None:
    head, rule, acme, bell = TRUNKS.render(220).splitlines()
    assert set(rule) == {"─"}
    assert "22:03:47 (in 59 min 12 s)" in acme
    assert head.index("registrar") == acme.index("udp:")
    assert head.index("state") == bell.index("paused")


def test_table_with_short_values_fits_a_narrower_terminal() -> None:
    table = Table(("trunk", "until"), [("acme", Cell("22:03:47 (in 59 min 12 s)", "in 59m12s"))])
    assert table.render(20).splitlines()[2] == "acme   in 59m12s"


def test_table_too_wide_continues_rows_below() -> None:
    lines = TRUNKS.render(80).splitlines()
    assert lines[0].split("  ")[0] == "trunk"
    assert "registered  in 59m12s      udp:203.0.113.7:5060" in lines[2]
    below = lines[3:-1]
    assert all(line.startswith("    ") for line in below)
    assert "    why: granted 3600 s, by the server that was asked for it" in below
    assert lines[-1].startswith("bell")  # no line for values that say nothing
    call_id = TRUNKS.rows[0][5]
    assert isinstance(call_id, str)
    assert sum(call_id in line for line in lines) == 1


@pytest.mark.parametrize("width", [1, 10, 40, 80, 120, None])
def test_table_escapes_control_characters(width: int | None) -> None:
    shown = Table(("a", "b"), [("\x1b[2J", "a\nb\r\x9b")]).render(width)
    assert shown.replace("\n", "").isprintable()
    assert r"\x1b[2J" in shown and r"a\nb\r\x9b" in shown


def test_table_counts_columns_of_wide_letters() -> None:
    head, _, first, second = (
        Table(("name", "x"), [("日本語", "1"), ("ab", "2")]).render(None).split("\n")
    )
    assert (head.index("x"), first.index("1"), second.index("2")) == (8, 5, 8)


WORDS = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=60)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS, WORDS), min_size=1, max_size=4), st.integers(1, 200))
def test_table_of_any_width_has_each_word_whole(rows: list[tuple[str, ...]], width: int) -> None:
    lines = Table(("a", "b", "c", "d"), rows).render(width).splitlines()
    words = [word for line in lines for word in line.split()]
    for row in rows:
        for value in row:
            if value not in {"-", "none"}:
                assert value in words
