"""What a command prints: JSON for programs, sentences and tables for people."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from whence.cli.tables import Cell, Table
from whence.core.text import escape_untrusted, format_duration


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the API, and the view that makes sentences and tables of it for people."""

    value: Any
    """The JSON of the API, unchanged."""
    view: Callable[[Any], Iterable[str | Table]]
    ok: bool = True
    """Whether the command succeeded: otherwise it exits with 1."""

    def text(self, width: int | None) -> str:
        """Return the lines for people; see `Table.render`."""
        return "\n".join(
            part.render(width) if isinstance(part, Table) else escape_untrusted(part)
            for part in self.view(self.value)
        )


def as_json(answer: Any) -> str:
    """Return an answer of the API unchanged, as JSON.

    Letters that could change the terminal are escaped, as JSON allows.
    """
    text = json.dumps(answer, indent=2, ensure_ascii=False)
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def terminal_width() -> int | None:
    """Return the columns of the terminal; None if the output is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def terminal_lines() -> int:
    """Return the lines of the terminal."""
    return shutil.get_terminal_size().lines


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 trunk`, `2 trunks`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def instant(at: str | float | None, never: str = "-") -> str:
    """Return an instant as local time and as a distance from now; `never` for None.

    `at`: as the API writes it (RFC 3339), or seconds since the epoch. The date is shown unless it
    is today.
    """
    return when(at, never).wide


def when(at: str | float | None, never: str = "-") -> Cell:
    """Return an instant for a table: see `instant`. On a narrow terminal only the distance."""
    if at is None:
        return Cell(never, never)
    if isinstance(at, str):
        at = datetime.fromisoformat(at).timestamp()
    now, then = time.time(), time.localtime(at)
    is_today = then[:3] == time.localtime(now)[:3]
    clock = time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S", then)
    away = at - now
    long, short = format_duration(abs(away)), brief_duration(abs(away))
    if away >= 0:
        return Cell(f"{clock} (in {long})", f"in {short}")
    return Cell(f"{clock} ({long} ago)", f"{short} ago")


def brief_duration(seconds: float) -> str:
    """Write a duration in its two largest units: `59s`, `12m05s`, `3h20m`, `2d04h`."""
    left = round(seconds)
    for large, small, unit, part in ((86_400, 3_600, "d", "h"), (3_600, 60, "h", "m")):
        if left >= large:
            return f"{left // large}{unit}{left % large // small:02}{part}"
    return f"{left // 60}m{left % 60:02}s" if left >= 60 else f"{left}s"


_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


def seconds(text: str) -> int:
    """Return the seconds of a duration: `90s`, `30m`, `1h`, `2d`.

    Raises: ValueError.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,8}) ?(s|m|min|h|d)", text.strip(), re.ASCII)
    if match is None:
        raise ValueError(f'"{text}" is no duration; write "30m", "1h" or "2d"')
    return int(match[1]) * _UNITS[match[2]]
