"""Tables for a terminal: no value in them is ever cut.

A table that is too wide for the terminal continues each row on the lines below it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from whence.core.text import escape_untrusted

INDENT = "    "
GAP = "  "
BELOW_GAP = "   "
NOTHING = frozenset({"", "-", "none"})
"""Values that a row does not show below its first line."""


class Cell(NamedTuple):
    """A value with a short form for a narrow terminal."""

    wide: str
    narrow: str


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, rows of as many values, and the sentence to show without a row.

    The first columns are the most important ones. Columns that do not fit move below a row, the
    last one first. Values may come from SIP: control characters are shown as escapes.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    empty: str = ""

    def render(self, width: int | None) -> str:
        """Return the lines for a terminal of `width` columns.

        `None`: no terminal. Each row is one line, however long, for programs as grep and awk.
        """
        if not self.rows:
            return self.empty
        wide = _texts(self.rows, lambda cell: cell.wide)
        if width is None or _fits(self.columns, wide, width):
            return "\n".join(_grid(self.columns, wide))
        narrow = _texts(self.rows, lambda cell: cell.narrow)
        above = len(self.columns)
        while above > 1 and not _fits(self.columns[:above], _left(narrow, above), width):
            above -= 1
        return "\n".join(_folded(self.columns, narrow, above, width))


def _texts(
    rows: Sequence[Sequence[str | Cell]], form: Callable[[Cell], str]
) -> list[tuple[str, ...]]:
    return [
        tuple(escape_untrusted(form(one) if isinstance(one, Cell) else one) for one in row)
        for row in rows
    ]


def _left(rows: list[tuple[str, ...]], count: int) -> list[tuple[str, ...]]:
    return [row[:count] for row in rows]


def _widths(columns: Sequence[str], rows: list[tuple[str, ...]]) -> list[int]:
    return [
        max(map(_length, (title, *values)))
        for title, values in zip(columns, zip(*rows, strict=True), strict=True)
    ]


def _fits(columns: Sequence[str], rows: list[tuple[str, ...]], width: int) -> bool:
    return sum(_widths(columns, rows)) + len(GAP) * (len(columns) - 1) <= width


def _grid(columns: Sequence[str], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield the head, a rule, and a line for each row."""
    widths = _widths(columns, rows)
    yield _line(columns, widths)
    yield "─" * (sum(widths) + len(GAP) * (len(widths) - 1))
    for row in rows:
        yield _line(row, widths)


def _folded(
    columns: Sequence[str], rows: list[tuple[str, ...]], above: int, width: int
) -> Iterator[str]:
    """Yield each row with its first values in a line, and the others below, each with its title."""
    first, rule, *lines = _grid(columns[:above], _left(rows, above))
    yield first
    yield rule[:width]
    for line, row in zip(lines, rows, strict=True):
        yield line
        named = zip(columns[above:], row[above:], strict=True)
        yield from _below(
            [f"{title}: {value}" for title, value in named if value not in NOTHING], width
        )


def _below(values: list[str], width: int) -> Iterator[str]:
    """Yield the values in as few lines as possible. A line breaks between values or words."""
    line = ""
    for value in values:
        if line and _length(line + BELOW_GAP + value) <= width:
            line += BELOW_GAP + value
            continue
        if line:
            yield line
        *full, line = textwrap.wrap(
            value,
            width,
            initial_indent=INDENT,
            subsequent_indent=INDENT * 2,
            break_long_words=False,  # what a person copies stays whole
            break_on_hyphens=False,
        )
        yield from full
    if line:
        yield line


def _line(values: Sequence[str], widths: list[int]) -> str:
    padded = (
        value + " " * (width - _length(value)) for value, width in zip(values, widths, strict=True)
    )
    return GAP.join(padded).rstrip()


def _length(text: str) -> int:
    """Return how many columns of the terminal a text takes: some letters take two, or none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
