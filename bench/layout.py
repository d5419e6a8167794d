"""Addresses and numbers of many trunks, and the order of the calls to them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import count
from typing import Literal

Places = Literal["one", "spread"]
"""All trunks at one address, or each at an address of its own."""

Pattern = Literal["all", "few", "anew"]
"""The pattern of the calls.

`all`: all trunks in turn. `few`: the same ten trunks. `anew`: all trunks, and each call has a new
To, so that no cached decision fits.
"""

FEW = 10
STEP = 7919
"""A prime. From trunk to trunk: any part of the calls is spread over all trunks."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A number of trunks, counted from 0, at addresses from *first* on."""

    trunks: int
    places: Places
    first: IPv4Address

    def ip(self, trunk: int) -> IPv4Address:
        """Return the address of a trunk."""
        return self.first if self.places == "one" else self.first + trunk

    def number(self, trunk: int) -> str:
        """Return its telephone number."""
        return f"+4420{trunk:08d}"


@dataclass(frozen=True, slots=True)
class Call:
    """A call: its source ip, the called number, and the user part of its To."""

    ip: IPv4Address
    number: str
    to: str


def calls(layout: Layout, pattern: Pattern) -> Iterator[Call]:
    """Yield calls without end. Each trunk is called once before any is called again."""
    trunks = min(layout.trunks, FEW) if pattern == "few" else layout.trunks
    for serial in count():
        trunk = serial * STEP % trunks * (layout.trunks // trunks)
        number = layout.number(trunk)
        to = f"call-{serial}" if pattern == "anew" else number
        yield Call(layout.ip(trunk), number, to)
