"""A trunk, with the values that identification needs."""

from __future__ import annotations

from typing import Literal, NamedTuple

from whence.core.identification.address import Address
from whence.core.sip.transport_address import TransportAddress

P_CALLED_PARTY_ID = "p-called-party-id"
TO = "to"
NUMBER_HEADERS = (P_CALLED_PARTY_ID, TO)
"""The headers that may hold a call's number after the Request-URI, if a trunk names none."""

PAST = frozenset({TO, "diversion", "history-info"})
"""Headers of previous recipients of a call. They may rightly name another trunk's number."""


class Trunk(NamedTuple):
    """One account at a provider: what names it in a request, and its addresses."""

    id: str
    token: str
    aor_user: str
    target: str
    addresses: tuple[Address, ...]
    unmatched: Literal["accept", "refuse"] = "accept"
    """Whether it gets a call that does not name it, if it is the only candidate."""
    fallback: bool = False
    """Whether it gets the calls that could belong to several trunks."""
    number_headers: tuple[str, ...] = NUMBER_HEADERS
    """Headers that may hold its number or account, in this order, in lower case."""
    number_format: str = ""
    """How `{number}` is written for its target: `Style` as text; empty: as sent."""

    def admits(self, source: TransportAddress, now: float) -> bool:
        """Return whether a valid address of this trunk admits `source`."""
        return any(address.admits(source, now) for address in self.addresses)

    def learned_from(self, source: TransportAddress, now: float) -> bool:
        """Return whether a valid address with exactly the source's port admits `source`."""
        return any(a.port == source.port and a.admits(source, now) for a in self.addresses)
