"""A trunk, as far as identification needs it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from whence.core.identification.address import Address
from whence.core.sip.transport_address import TransportAddress

P_CALLED_PARTY_ID = "p-called-party-id"
TO = "to"
NUMBER_HEADERS = (P_CALLED_PARTY_ID, TO)
"""Where a call's number is looked for behind the Request-URI, unless a trunk says otherwise."""

PAST = frozenset({TO, "diversion", "history-info"})
"""Headers that tell whom the call was for before. They may name another trunk's number rightly."""


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
    number_headers: tuple[str, ...] = NUMBER_HEADERS
    """Headers in which its number or account is looked for, in this order; in small letters."""
    number_format: str = ""
    """How `{number}` is written for its target: `Style` as text; empty: as sent."""

    def admits(self, source: TransportAddress, now: float) -> bool:
        """Whether a live address of this trunk admits `source`."""
        return any(address.admits(source, now) for address in self.addresses)

    def learned_from(self, source: TransportAddress, now: float) -> bool:
        """Whether a live address admits `source` and was learned from exactly that port."""
        return any(a.port == source.port and a.admits(source, now) for a in self.addresses)
