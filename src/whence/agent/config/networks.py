"""Read the networks and instants of pinned addresses. A ValueError names the right form."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

from whence.core.identification.networks import checked_network


def network(given: Any) -> str:
    """Return the canonical text of an ip or a network. Raises ValueError."""
    return sys.intern(checked_network(given))  # thousands of trunks have the same


def instant(given: Any) -> float:
    """Return an instant in seconds since the epoch, from a TOML date-time or a text of ISO 8601.

    Raises ValueError.
    """
    right = 'write "2030-12-31T18:00:00Z", or +01:00 for Z'
    read = given
    if isinstance(given, str):
        try:
            read = datetime.fromisoformat(given) if "T" in given.upper() else None
        except ValueError:
            read = None
    if not isinstance(read, datetime):
        raise ValueError(f'"{given}" is not an instant; {right}')  # noqa: TRY004 - pydantic's
    if read.tzinfo is None:
        raise ValueError(f'"{given}" has no time zone; {right}')
    return read.timestamp()
