"""Text for people: durations, untrusted text, long lists."""

from __future__ import annotations

from collections.abc import Collection


def format_duration(seconds: float) -> str:
    """Write a duration in its two largest units: `59 s`, `12 min 5 s`, `3 h 20 min`, `2 d 4 h`."""
    left = round(seconds)
    for large, small, unit, part in ((86_400, 3_600, "d", "h"), (3_600, 60, "h", "min")):
        if left >= large:
            return f"{left // large} {unit} {left % large // small} {part}"
    return f"{left // 60} min {left % 60} s" if left >= 60 else f"{left} s"


def escape_untrusted(text: str) -> str:
    """Escape a text from outside for a terminal or a log: `\\x1b` for a control character.

    The result cannot move a cursor, change a colour, or change the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def summarize(words: Collection[str]) -> str:
    """List the first five words, and the number of the rest."""
    first = list(words)[:5]
    more = len(words) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")
