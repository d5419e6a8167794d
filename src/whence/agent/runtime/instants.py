"""Writes instants for other programs."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(at: float) -> str:
    """Write an instant in UTC, to the microsecond (RFC 3339 5.6). `at`: seconds of the epoch."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
