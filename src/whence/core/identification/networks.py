"""Which networks an operator may pin or allow, and how they are written."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any

from whence.core.sip.transport_address import IP, Network, canonical_network

WIDEST = {4: 8, 6: 16}
"""IP version → the shortest prefix length that may be pinned: no provider has a wider network."""

_FORM = re.compile(r"[0-9A-Fa-f.:]+(/[0-9]{1,3})?")
_EXAMPLE = "198.51.100.0/24"


def checked_network(given: Any) -> str:
    """Return the canonical text of an ip or a network. Raises ValueError with the right form."""
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
        raise ValueError(f'"{text}" is no host\'s address; write "{_EXAMPLE}"')
    return str(read)


def _read(text: str) -> IP | Network | None:
    try:
        return canonical_network(text) if _FORM.fullmatch(text) else None
    except ValueError:
        return None


def _right(text: str) -> str:
    """Return what is wrong with a network, and what was probably meant."""
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
