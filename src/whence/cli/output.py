"""Print the API's answers: JSON for programs, tables for people."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from whence.core.text import format_duration


def as_json(answer: Any) -> None:
    """Print an answer of the API unchanged."""
    print(json.dumps(answer, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Print rows under their columns, or the sentence `empty` if there are none."""
    if not rows:
        print(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    made = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        made.add_row(*row)
    # A pipe gets one line for each row, however long: grep and awk read lines.
    width = None if sys.stdout.isatty() else 1000
    Console(highlight=False, markup=False, width=width).print(made)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 trunk`, `2 trunks`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def instant(at: str | float | None, never: str = "-") -> str:
    """Return an instant as local time and as a distance from now; `never` for None.

    `at`: as the API writes it (RFC 3339), or seconds since the epoch. The date is shown unless it
    is today.
    """
    if at is None:
        return never
    if isinstance(at, str):
        at = datetime.fromisoformat(at).timestamp()
    now, then = time.time(), time.localtime(at)
    is_today = then[:3] == time.localtime(now)[:3]
    clock = time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S", then)
    away = at - now
    return (
        f"{clock} (in {format_duration(away)})"
        if away >= 0
        else f"{clock} ({format_duration(-away)} ago)"
    )


_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


def seconds(text: str) -> int:
    """Return the seconds of a duration: `90s`, `30m`, `1h`, `2d`.

    Raises: ValueError.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,8}) ?(s|m|min|h|d)", text.strip(), re.ASCII)
    if match is None:
        raise ValueError(f'"{text}" is no duration; write "30m", "1h" or "2d"')
    return int(match[1]) * _UNITS[match[2]]
