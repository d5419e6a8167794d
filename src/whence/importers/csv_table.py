"""Read trunks from CSV: the header has keys of `[[trunk]]`, each row is a trunk."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from itertools import islice
from typing import Any, Literal

from whence.errors import ConfigError
from whence.importers.records import (
    RECORDS_LIMIT,
    VALUE_LIMIT,
    Findings,
    Place,
    Record,
    Source,
    too_long,
    without_empty,
)

ColumnKind = Literal["text", "exact", "number", "truth", "list"]
"""How the text of a column becomes the value of a key. `exact`: with the blanks at its ends."""

_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_DELIMITERS = ",;\t"


def read(source: Source, kinds: Mapping[str, ColumnKind], findings: Findings) -> None:
    """Add a record for each row. `kinds`: the keys that a column may have.

    The delimiter is that of the header which gives the most columns. Values of a list are separated
    by blanks or `|`.

    Raises: ConfigError: the file has no header, or is no CSV.
    """
    head = source.text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=head.count)
    csv.field_size_limit(VALUE_LIMIT * 100)
    reader = csv.reader(io.StringIO(source.text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        _check_header(source.name, columns, kinds, findings)
        begin = reader.line_num + 1
        for row in islice(reader, RECORDS_LIMIT):
            if any(value.strip() for value in row):
                _add(Place(source.name, begin), columns, row, kinds, findings)
            begin = reader.line_num + 1
        if next(reader, None) is not None:
            findings.note(
                Place(source.name, begin), f"is behind {RECORDS_LIMIT} rows; the rest is left out"
            )
    except csv.Error as error:
        place = Place(source.name, reader.line_num)
        raise ConfigError([f"{place}: is not CSV: {error}"]) from None


def _check_header(
    name: str, columns: list[str], kinds: Mapping[str, ColumnKind], findings: Findings
) -> None:
    place = Place(name, 1)
    if "registrar" not in columns:
        raise ConfigError(
            [
                f"{place}: the header has no column registrar; name the columns like the keys of "
                "[[trunk]]: id,registrar,user,password,target,numbers"
            ]
        )
    doubles = {column for column in columns if columns.count(column) > 1}
    if doubles:
        raise ConfigError([f"{place}: the header has {', '.join(sorted(doubles))} twice"])
    for column in columns:
        if column not in kinds:
            findings.note(place, f'column "{column}": is no key of [[trunk]]; it is left out')


def _add(
    place: Place,
    columns: list[str],
    row: list[str],
    kinds: Mapping[str, ColumnKind],
    findings: Findings,
) -> None:
    if len(row) != len(columns):
        findings.note(
            place,
            f"has {len(row)} fields, and the header names {len(columns)}; the row is left out",
        )
        return
    given = dict(zip(columns, row, strict=True))
    doubt, keys = too_long(given.items()), dict[str, Any]()
    for column, text in given.items():
        if column in kinds and text.strip():
            try:
                keys[column] = _value(text, kinds[column])
            except ValueError as error:
                doubt = doubt or f"{column}: {error}"
    keys.setdefault("id", keys.get("user", ""))
    findings.trunks.append(Record(place, without_empty(keys), doubt))


def _value(text: str, kind: ColumnKind) -> Any:
    """Return the value of a field. Raises ValueError."""
    if kind == "list":
        return text.replace("|", " ").split()
    if kind == "truth":
        if text.strip().lower() not in _TRUTHS:
            raise ValueError(f'"{text}" is neither true nor false')
        return _TRUTHS[text.strip().lower()]
    if kind == "number":
        try:
            return float(text) if "." in text else int(text)
        except ValueError:
            raise ValueError(f'"{text}" is no number') from None
    return text if kind == "exact" else text.strip()
