r"""Read INSERT statements of one table from the text of `mysqldump`.

Only what `mysqldump` writes is read: back-quoted names, literal values, `\'` and `''` in texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

Parsed = tuple[int, dict[str, str], str]
"""The line of a row, its values by column, and its fault; without a fault it is empty."""

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<comment>--(?=\s)[^\n]*|\#[^\n]*|/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z))
  | (?P<text>(?:_\w++\s*+)?'(?:[^'\\]|\\.|'')*+(?:'|\\?\Z))
  | (?P<name>`(?:[^`]|``)*+(?:`|\Z))
  | (?P<hex>0x[0-9A-Fa-f]+)
  | (?P<word>[\w.+-]+)
  | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
"""What has no end extends to the end of the file. Backtracking from there would take too long."""

_ESCAPE = re.compile(r"\\(.)|''", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "b": "\b", "Z": "\x1a"}
_NOT_COLUMNS = frozenset(
    {"PRIMARY", "UNIQUE", "KEY", "INDEX", "CONSTRAINT", "FULLTEXT", "FOREIGN", "CHECK"}
)

Token = tuple[str, str, int]
"""Kind, text, and where it begins."""


def rows_of_dump(text: str, table: str) -> Iterator[Parsed]:
    """Yield each row of the table. A row that cannot be read has a fault instead of values."""
    lines = _Lines(text)
    columns: list[str] = []
    for statement in _statements(text):
        words = [word.upper() for _, word, _ in statement[:2]]
        if words == ["CREATE", "TABLE"] and _table_of(statement) == table:
            columns = _columns(statement)
        elif words[:1] in (["INSERT"], ["REPLACE"]) and _table_of(statement) == table:
            named, rows = _insert(statement)
            for begin, values in rows:
                yield _row(lines.line(begin), named or columns, values)


def _row(line: int, columns: Sequence[str], values: list[str] | None) -> Parsed:
    if values is None:
        return line, {}, "has no end, or a value that is no literal; the row is left out"
    if len(values) != len(columns):
        return (
            line,
            {},
            f"has {len(values)} values for {len(columns)} columns; the row is left out",
        )
    return line, dict(zip(columns, values, strict=True)), ""


class _Lines:
    """Finds the line of each offset; the offsets only grow."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._line = text, 0, 1

    def line(self, offset: int) -> int:
        self._line += self._text.count("\n", self._at, offset)
        self._at = offset
        return self._line


def _statements(text: str) -> Iterator[list[Token]]:
    """Yield the tokens of each statement, without blanks and comments."""
    statement: list[Token] = []
    for found in _TOKEN.finditer(text):
        kind = str(found.lastgroup)
        if kind in ("space", "comment"):
            continue
        if kind == "sign" and found[0] == ";":
            yield statement
            statement = []
        else:
            statement.append((kind, found[0], found.start()))
    if statement:
        yield statement


def _table_of(statement: list[Token]) -> str:
    """Return the name of the table of CREATE or INSERT: the last name before `(` or VALUES."""
    name = ""
    for kind, word, _ in statement[1:]:
        if kind == "sign" and word != ".":
            break
        if kind == "word" and word.upper() in ("VALUES", "VALUE"):
            break
        if kind in ("name", "word"):
            name = _bare(word).rpartition(".")[2]
    return name


def _columns(statement: list[Token]) -> list[str]:
    """Return the columns of CREATE TABLE: the first word after each comma of the first level."""
    columns, depth = [], 0
    for (_, before, _), (kind, word, _) in pairwise(statement):
        depth += {"(": 1, ")": -1}.get(before, 0)
        begins = depth == 1 and before in ("(", ",")
        if begins and (kind == "name" or (kind == "word" and word.upper() not in _NOT_COLUMNS)):
            columns.append(_bare(word))
    return columns


def _insert(statement: list[Token]) -> tuple[list[str], list[tuple[int, list[str] | None]]]:
    """Return the named columns of INSERT, and its rows: where each begins, and its values."""
    values_at = next(
        (
            at
            for at, (kind, word, _) in enumerate(statement)
            if kind == "word" and word.upper() in ("VALUES", "VALUE")
        ),
        len(statement),
    )
    head = statement[:values_at]
    opened = next((at for at, (_, word, _) in enumerate(head) if word == "("), len(head))
    named = [_bare(word) for kind, word, _ in head[opened:] if kind in ("name", "word")]
    return named, list(_tuples(statement[values_at + 1 :]))


def _tuples(tokens: list[Token]) -> Iterator[tuple[int, list[str] | None]]:
    values: list[str] | None = None
    begin, is_open, expects_value = 0, False, False
    for kind, word, at in tokens:
        if not is_open:
            is_open = expects_value = word == "("
            begin, values = at, []
        elif word == ")" and kind == "sign":
            yield begin, values
            is_open = False
        elif word == "," and kind == "sign":
            expects_value = True
        else:
            literal = _literal(kind, word) if expects_value else None
            values = None if literal is None or values is None else [*values, literal]
            expects_value = False
    if is_open:  # the file ends within a row
        yield begin, None


def _literal(kind: str, word: str) -> str | None:
    """Return the text of a literal; None for a function or an expression."""
    if kind == "text":
        inner = word[word.index("'") + 1 : -1]
        return _ESCAPE.sub(lambda one: _ESCAPED.get(one[1], one[1]) if one[1] else "'", inner)
    if kind == "hex":
        return bytes.fromhex(word[2:].rjust(len(word[2:]) + len(word[2:]) % 2, "0")).decode(
            "utf-8", "replace"
        )
    if kind == "word" and (word.upper() == "NULL" or re.fullmatch(r"[+-]?[\d.]+", word)):
        return "" if word.upper() == "NULL" else word
    return None


def _bare(word: str) -> str:
    """Return a name without back quotes."""
    return word[1:-1].replace("``", "`") if word.startswith("`") else word
