"""Durations, in words."""

from __future__ import annotations

from collections.abc import Collection


def format_duration(seconds: float) -> str:
    """A duration in its two largest units: `59 s`, `12 min 5 s`, `3 h 20 min`, `2 d 4 h`."""
    left = round(seconds)
    for large, small, unit, part in ((86_400, 3_600, "d", "h"), (3_600, 60, "h", "min")):
        if left >= large:
            return f"{left // large} {unit} {left % large // small} {part}"
    return f"{left // 60} min {left % 60} s" if left >= 60 else f"{left} s"


def escape_untrusted(text: str) -> str:
    """Write a text from outside so that it can be shown: `\\x1b` for a control character.

    Nothing in it moves a cursor, changes a colour, or turns the direction of what is read.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def summarize(words: Collection[str]) -> str:
    """Name the first ones, and how many more there are."""
    first = list(words)[:5]
    more = len(words) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")
