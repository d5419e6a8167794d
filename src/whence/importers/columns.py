"""What the readers of database tables share: columns without use, times, passwords."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from whence.importers.records import Findings, Place
from whence.importers.sip_values import number
from whence.importers.tables import TableRow

EXPIRES_MOST = 7 * 86_400


@dataclass(slots=True)
class ColumnNotes:
    """Counts the rows that have a value in a column without use, for one note a column.

    `reasons`: column → why its values are not used.
    """

    reasons: Mapping[str, str]
    _first: dict[str, Place] = field(default_factory=dict)
    _rows: dict[str, int] = field(default_factory=dict)

    def see(self, row: TableRow) -> None:
        """Count a row."""
        for column in self.reasons:
            if row.get(column) not in ("", "0"):
                self._first.setdefault(column, row.place)
                self._rows[column] = self._rows.get(column, 0) + 1

    def add_to(self, findings: Findings) -> None:
        """Add a note for each column that some row used."""
        for column, place in self._first.items():
            rows = self._rows[column]
            more = f", and in {rows - 1} more rows" if rows > 1 else ""
            findings.note(place, f"{column}: is left out here{more}: {self.reasons[column]}")


def expires(row: TableRow, column: str, findings: Findings) -> int | None:
    """Return the seconds of a column; None for the default of Whence."""
    text = row.get(column)
    if text in ("", "0"):
        return None
    seconds = number(text, 1, EXPIRES_MOST)
    if seconds is None:
        findings.note(row.place, f"{column}: is no time of 1 to {EXPIRES_MOST} s; it is left out")
    return seconds


def secret(row: TableRow, column: str) -> dict[str, Any]:
    """Return the password of a column. Blanks at its ends are part of it."""
    return {"password": row.values.get(column, "")}
