"""A trunk, as far as identification needs it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from whence.core.address import Address, Source


class Trunk(NamedTuple):
    """One account at a provider: what names it in a request, and from where its calls may come."""

    id: str
    token: str
    aor_user: str
    target: str
    addresses: tuple[Address, ...]
    unmatched: Literal["accept", "refuse"] = "accept"
    """Whether it, as the only candidate, takes a call in which nothing names it."""
    fallback: bool = False
    """Whether it takes a call that could be several trunks'."""

    def admits(self, source: Source, now: float) -> bool:
        """Whether a live address of this trunk admits `source`."""
        return any(address.admits(source, now) for address in self.addresses)

    def learned_from(self, source: Source, now: float) -> bool:
        """Whether a live address admits `source` and was learned from exactly that port."""
        return any(a.port == source.port and a.admits(source, now) for a in self.addresses)
