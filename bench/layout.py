"""Addresses and numbers of many trunks, and the order of the calls to them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import count
from math import gcd
from typing import Literal

Places = Literal["one", "spread"]
"""All trunks at one address, or each at an address of its own."""

Pattern = Literal["all", "few", "anew"]
"""The pattern of the calls.

`all`: all trunks in turn. `few`: the same ten trunks. `anew`: all trunks, and each call has a new
To, so that no cached decision fits.
"""

FEW = 10
GOLDEN = 0.618034


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
    """Yield calls without end.

    The step from trunk to trunk has no common factor with their number. So each trunk is called
    once before any is called again. Any part of the calls is spread over all trunks.
    """
    trunks = min(layout.trunks, FEW) if pattern == "few" else layout.trunks
    step = step_of(trunks)
    for serial in count():
        trunk = serial * step % trunks * (layout.trunks // trunks)
        number = layout.number(trunk)
        to = f"call-{serial}" if pattern == "anew" else number
        yield Call(layout.ip(trunk), number, to)


def step_of(trunks: int) -> int:
    """Return the least number from the golden section of `trunks` on that is prime to it."""
    step = max(1, round(trunks * GOLDEN))
    while gcd(step, trunks) != 1:
        step += 1
    return step
