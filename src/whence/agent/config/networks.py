"""How the file says what is pinned: networks and instants. A ValueError tells the right form."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

from whence.core.identification.networks import checked_network


def network(given: Any) -> str:
    """Read an ip or a network, as the canonical text of it."""
    return sys.intern(checked_network(given))  # thousands of trunks have the same


def instant(given: Any) -> float:
    """Read an instant, as seconds since the epoch: of TOML, or a text in the form of ISO 8601."""
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
        raise ValueError(f'"{given}" does not say in which time zone; {right}')
    return read.timestamp()
