"""Durations, in words."""

from __future__ import annotations


def span(seconds: float) -> str:
    """A duration in its two largest units: `59 s`, `12 min 5 s`, `3 h 20 min`, `2 d 4 h`."""
    left = round(seconds)
    for large, small, unit, part in ((86_400, 3_600, "d", "h"), (3_600, 60, "h", "min")):
        if left >= large:
            return f"{left // large} {unit} {left % large // small} {part}"
    return f"{left // 60} min {left % 60} s" if left >= 60 else f"{left} s"
