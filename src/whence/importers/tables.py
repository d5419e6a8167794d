"""Read the rows of a table from the text of a MySQL dump or of Kamailio's and OpenSIPS' db_text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from whence.errors import ConfigError, KamailioTableError
from whence.importers.mysql_dump import rows_of_dump
from whence.importers.records import RECORDS_LIMIT, Findings, Place, Source
from whence.store.kamailio_tables import columns_of_sqlite, fields_of_text, read_sqlite

_HEAD = re.compile(r"(?:\s*\w+\([\w,]*\))+\s*")
_COLUMN = re.compile(r"(\w+)\([\w,]*\)")


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row: its place, and its values by column. An empty text is NULL, too."""

    place: Place
    values: Mapping[str, str]

    def get(self, column: str) -> str:
        """Return the value of a column; empty if the table does not have it.

        Older tables write an empty value as a dot.
        """
        value = self.values.get(column, "").strip()
        return "" if value == "." else value


def rows_of(source: Source, table: str, findings: Findings) -> list[TableRow]:
    """Return the rows of a table in a dump or a db_text file.

    Rows that cannot be read become notes. Raises: ConfigError: the text is neither of both.
    """
    head, _, rest = source.text.partition("\n")
    if _HEAD.fullmatch(head):
        rows = _of_db_text(source.name, _COLUMN.findall(head), rest, findings)
    elif re.search(r"\b(?:CREATE\s+TABLE|INSERT\s+INTO)\b", source.text, re.IGNORECASE):
        rows = rows_from_dump(source, table, findings)
    else:
        raise ConfigError(
            [
                f"{Place(source.name)}: is neither an SQLite file, a MySQL dump nor a file of "
                f"db_text; write one with: mysqldump DATABASE {table}"
            ]
        )
    read = list(islice(rows, RECORDS_LIMIT + 1))
    if len(read) > RECORDS_LIMIT:
        raise ConfigError(
            [f"{Place(source.name)}: has more than {RECORDS_LIMIT} rows; split the file"]
        )
    return read


def rows_of_sqlite(file: Path, table: str) -> list[TableRow]:
    """Return the rows of a table in an SQLite file. Raises: ConfigError."""
    try:
        columns = columns_of_sqlite(file, table)
        rows = read_sqlite(file, table, columns)
    except KamailioTableError as error:
        raise ConfigError([f"{Place(str(file))}: table {table}: {error}"]) from None
    return [
        TableRow(
            Place(f"{file}: row {number}"),
            {column: "" if value is None else str(value) for column, value in row.items()},
        )
        for number, row in enumerate(rows, start=1)
    ]


def rows_from_dump(source: Source, table: str, findings: Findings) -> Iterator[TableRow]:
    """Yield the rows of a table in a MySQL dump."""
    for line, values, fault in rows_of_dump(source.text, table):
        place = Place(source.name, line)
        if fault:
            findings.note(place, fault)
        else:
            yield TableRow(place, values)


def _of_db_text(name: str, columns: list[str], text: str, findings: Findings) -> Iterator[TableRow]:
    for line, row in enumerate(text.split("\n"), start=2):
        if not row.strip():
            continue
        values = list(fields_of_text(row.rstrip("\r")))
        place = Place(name, line)
        if len(values) != len(columns):
            findings.note(
                place,
                f"has {len(values)} fields, and the first line names {len(columns)}; the row is "
                "left out",
            )
            continue
        yield TableRow(place, dict(zip(columns, values, strict=True)))
