"""Read tables of Kamailio's own databases: SQLite files, and the text files of `db_text`.

A table is read once, and never written. Of a password, only the length is read.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from stat import S_ISREG

from whence.errors import KamailioTableError

Row = dict[str, str | int | None]
"""Column → value; None for NULL."""

ROWS_LIMIT = 100_000
TEXT_LIMIT = 64 * 1024 * 1024
"""Bytes of a table of db_text."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COLUMN = re.compile(r"(?P<name>\w+)\((?P<flags>[\w,]*)\)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}


def read_sqlite(
    file: Path, table: str, columns: Sequence[str], lengths: Collection[str] = ()
) -> list[Row]:
    """Read columns of a table in an SQLite file.

    `lengths`: the columns of which only the length of the value is read.

    Raises: KamailioTableError: the file or the table does not exist or cannot be read.
    """
    _check_names(table, *columns)
    words = [
        f"length(coalesce({column}, '')) AS {column}" if column in lengths else column
        for column in columns
    ]
    query = f"SELECT {', '.join(words)} FROM {table} LIMIT {ROWS_LIMIT}"
    rows = _ask_sqlite(file, query)
    return [
        {
            column: value if value is None or isinstance(value, int) else str(value)
            for column, value in zip(columns, row, strict=True)
        }
        for row in rows
    ]


def read_text(
    folder: Path, table: str, columns: Sequence[str], lengths: Collection[str] = ()
) -> list[Row]:
    """Read columns of a table in a folder of `db_text`; see `read_sqlite`.

    `db_text` reads an empty field as NULL. It refuses a table with a NULL in a column whose head
    does not have the flag `null`. So does this.
    """
    _check_names(table, *columns)
    file = folder / table
    _check_regular(file)
    try:
        with file.open("rb") as opened:
            data = opened.read(TEXT_LIMIT + 1)
    except OSError as error:
        raise KamailioTableError(error.strerror or "cannot be opened") from None
    if len(data) > TEXT_LIMIT:
        raise KamailioTableError(f"is larger than {TEXT_LIMIT >> 20} MB")
    head, *lines = _text(data).split("\n")
    flags = {one["name"]: one["flags"].split(",") for one in _COLUMN.finditer(head)}
    names = {name: at for at, name in enumerate(flags)}
    missing = [column for column in columns if column not in names]
    if missing:
        raise KamailioTableError(f"no such column: {missing[0]}")
    rows = []
    for number, line in enumerate(lines[:ROWS_LIMIT], start=2):
        if not line:
            continue
        values = [*fields_of_text(line), *[""] * len(names)]
        for name, at in names.items():
            if not values[at] and not {"null", "auto"}.intersection(flags[name]):
                raise KamailioTableError(
                    f"line {number}: {name} is empty, which db_text refuses: write "
                    f"{name}({flags[name][0]},null) in the first line"
                )
        row: Row = {}
        for column in columns:
            value = values[names[column]]
            row[column] = len(value) if column in lengths else value or None
        rows.append(row)
    return rows


def fields_of_text(line: str) -> Iterator[str]:
    """Yield the fields of a row of db_text: colons separate them, a backslash escapes."""
    field = ""
    letters = iter(line)
    for letter in letters:
        if letter == "\\":
            escaped = next(letters, "")
            field += _ESCAPES.get(escaped, escaped)
        elif letter == ":":
            yield field
            field = ""
        else:
            field += letter
    yield field


def columns_of_sqlite(file: Path, table: str) -> list[str]:
    """Return the columns of a table in an SQLite file. Raises: KamailioTableError."""
    _check_names(table)
    rows = _ask_sqlite(file, f"SELECT name FROM pragma_table_info('{table}')")
    if not rows:
        raise KamailioTableError(f"no such table: {table}")
    return [str(name) for (name,) in rows]


def _ask_sqlite(file: Path, query: str) -> list[Sequence[str | int | None]]:
    _check_regular(file)
    try:
        uri = f"{file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            database.text_factory = _text
            return database.execute(query).fetchall()
    except sqlite3.Error as error:
        raise KamailioTableError(str(error)) from None


def _check_regular(file: Path) -> None:
    """Check that a file is regular and readable: SQLite does not say why it cannot open one."""
    try:
        if not S_ISREG(file.stat().st_mode):
            raise KamailioTableError("is no regular file")
        with file.open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise KamailioTableError(getattr(error, "strerror", None) or "no valid path") from None


def _check_names(*names: str) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            raise KamailioTableError(f"{name!a} is no name of a table or column")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
