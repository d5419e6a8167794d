"""What a reader finds in a file: trunks, users, and what it cannot use."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from whence.core.text import escape_untrusted

RECORDS_LIMIT = 100_000
"""Most records of one file."""

VALUE_LIMIT = 1_000
"""Longest value that is used, in characters."""


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a file, and its name for messages."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file. `line` 0: the file has no lines, as a database."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        name = escape_untrusted(self.file)
        return f"{name}:{self.line}" if self.line else name


@dataclass(frozen=True, slots=True)
class Note:
    """What a reader cannot use, where, and why."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {escape_untrusted(self.message)}"


@dataclass(frozen=True, slots=True)
class Record:
    """A trunk or a user: the place where it begins, and its keys in the settings file.

    The value of `id` or `name` may have any form, and may occur several times. `doubt`: why the
    record must not be used as it is.
    """

    place: Place
    keys: Mapping[str, Any]
    doubt: str = ""


@dataclass(slots=True)
class Findings:
    """What a reader found."""

    trunks: list[Record] = field(default_factory=list)
    users: list[Record] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def note(self, place: Place, message: str) -> None:
        """Add a note."""
        self.notes.append(Note(place, message))


def without_empty(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that have a value."""
    return {key: value for key, value in keys.items() if value not in (None, "", [], {})}


def too_long(values: Iterable[tuple[str, str]]) -> str:
    """Return the doubt about the first (name, value) that is too long; empty: none is."""
    for name, value in values:
        if len(value) > VALUE_LIMIT:
            return f"{name} has {len(value)} characters, and may have {VALUE_LIMIT}"
    return ""


class UniqueNames:
    """Makes valid and unique names for trunks."""

    _FORBIDDEN = re.compile(r"[^A-Za-z0-9_.+-]+")
    _LONGEST = 64

    def __init__(self, used: Iterable[str] = ()) -> None:
        self._used = set(used)
        self._next: Counter[str] = Counter()

    def make(self, wish: str) -> str:
        """Return the name that is nearest to `wish`, and not used yet."""
        base = self._FORBIDDEN.sub("-", wish).strip("-.+")[: self._LONGEST] or "trunk"
        name = base
        while name in self._used:
            self._next[base] += 1
            end = f"-{self._next[base] + 1}"
            name = base[: self._LONGEST - len(end)] + end
        self._used.add(name)
        return name
