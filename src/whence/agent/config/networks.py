"""How the file says what is pinned: networks and instants. A ValueError tells the right form."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from ipaddress import ip_network
from typing import Any

from whence.core.sip.transport_address import IP, Network, canonical_network

WIDEST = {4: 8, 6: 16}
"""IP version → the shortest prefix that may be pinned: no provider has more."""

_FORM = re.compile(r"[0-9A-Fa-f.:]+(/[0-9]{1,3})?")
_EXAMPLE = "198.51.100.0/24"


def network(given: Any) -> str:
    """Read an ip or a network, as the canonical text of it."""
    text = given if isinstance(given, str) else ""
    read = _read(text)
    if read is None:
        raise ValueError(f'"{given}" {_right(text)}')
    whole = ip_network(read)
    if whole.prefixlen < WIDEST[read.version]:
        raise ValueError(
            f'"{text}" admits more than any provider has; write networks of '
            f"/{WIDEST[read.version]} at the widest"
        )
    if whole.is_multicast or whole.network_address.is_unspecified:
        raise ValueError(f'"{text}" is nobody\'s address; write "{_EXAMPLE}"')
    return sys.intern(str(read))  # thousands of trunks have the same


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


def _read(text: str) -> IP | Network | None:
    try:
        return canonical_network(text) if _FORM.fullmatch(text) else None
    except ValueError:
        return None


def _right(text: str) -> str:
    """Say what is wrong with a network, and what was meant, as far as that can be told."""
    address, _, length = text.partition("/")
    try:
        meant = ip_network(text, strict=False) if length else None
    except ValueError:
        meant = None
    if meant is not None and length.isdecimal():
        return f'has bits beyond its /{length}; write "{meant}", or "{address}" alone'
    if meant is not None:
        return f'is not in the form ip/length; write "{meant}"'
    filled = address.rstrip(".") + ".0" * (3 - address.rstrip(".").count("."))
    filled += f"/{length}" if length else ""
    return f'is not a network; write "{filled if _read(filled) else _EXAMPLE}"'
