"""Where many trunks are, which numbers they have, and which of them is called next. Pure."""

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
"""Whom the calls are for: all trunks in turn; the same few again and again; or all trunks, and
each call with a To that was never seen, so that no answer that was kept is good for it."""

FEW = 10
GOLDEN = 0.618034


@dataclass(frozen=True, slots=True)
class Layout:
    """So many trunks from an address on; all are counted from 0."""

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
    """One call: from where, for which number, and the user part of its To."""

    ip: IPv4Address
    number: str
    to: str


def calls(layout: Layout, pattern: Pattern) -> Iterator[Call]:
    """Return calls without an end.

    Trunks are gone through by a step that has no common factor with their number: each is called
    once before any is called again, and any stretch of calls is spread over all of them.
    """
    trunks = min(layout.trunks, FEW) if pattern == "few" else layout.trunks
    step = step_of(trunks)
    for serial in count():
        trunk = serial * step % trunks * (layout.trunks // trunks)
        number = layout.number(trunk)
        to = f"call-{serial}" if pattern == "anew" else number
        yield Call(layout.ip(trunk), number, to)


def step_of(trunks: int) -> int:
    """Return the number nearest above the golden section of `trunks` that is prime to it."""
    step = max(1, round(trunks * GOLDEN))
    while gcd(step, trunks) != 1:
        step += 1
    return step
