"""Writing answers: JSON for programs, a table for people."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from whence.core.text import format_duration


def as_json(answer: Any) -> None:
    """Write an answer of the API as it is."""
    print(json.dumps(answer, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Write rows under their columns, or the sentence `empty` where there are none."""
    if not rows:
        print(empty)
        return
    made = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        made.add_row(*row)
    # Into a pipe, lines are as long as they must be: grep and awk read them.
    width = None if sys.stdout.isatty() else 1000
    Console(highlight=False, markup=False, width=width).print(made)


def instant(at: float | None, never: str = "-") -> str:
    """An instant as local time, with its date where it is not today, and how far it is from now."""
    if at is None:
        return never
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
    """Read a duration as an operator writes it: `90s`, `30m`, `1h`, `2d`; ValueError."""
    match = re.fullmatch(r"([1-9][0-9]{0,8}) ?(s|m|min|h|d)", text.strip(), re.ASCII)
    if match is None:
        raise ValueError(f'"{text}" is no duration; write "30m", "1h" or "2d"')
    return int(match[1]) * _UNITS[match[2]]
