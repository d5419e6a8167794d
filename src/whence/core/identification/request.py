"""What identification looks at: a request, and what the directory holds about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Any, NamedTuple

from whence.core.identification.trunk import P_CALLED_PARTY_ID, TO, Trunk
from whence.core.sip.phone_number import called
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri

REQUEST_URI = "request-uri"


PLACES = {REQUEST_URI: "Request-URI", P_CALLED_PARTY_ID: "P-Called-Party-ID", TO: "To"}
"""Where a request may name a trunk → how it is written for people."""


class Called(NamedTuple):
    """What one URI of a request may name a trunk by."""

    user: str
    number: str | None
    """The bare telephone number; None where it calls none."""
    accounts: tuple[str, ...]
    """What could be the account of a trunk: compared with case (RFC 3261 19.1.4)."""

    @classmethod
    def by(cls, uri: Uri) -> Called:
        """Read what a URI names."""
        user, number = uri.user, called(uri)
        if user == number or not user:
            return cls(user, number, (user,) if user else ())
        texts = [user] if number is None else [user, number]
        if ";" in user:
            texts.append(user.partition(";")[0])
        return cls(user, number, tuple([text for text in texts if text]))


_NONE: Mapping[Any, Any] = MappingProxyType({})


NO_HEADERS: Mapping[str, tuple[Uri, ...]] = _NONE


@dataclass(frozen=True, slots=True)
class Request:
    """What identification looks at in a request outside a dialog."""

    source: TransportAddress
    ruri: Uri
    to: Uri | None = None
    p_called_party_id: Uri | None = None
    others: Mapping[str, tuple[Uri, ...]] = field(default_factory=lambda: NO_HEADERS)
    """Further headers that some trunk has in its `number_headers`, by name in small letters →
    their values; the one that counts first comes first."""
    tokens: tuple[str, ...] = field(init=False, compare=False)
    """What could be the token of a trunk: Request-URI user and `line` parameter."""
    called: Mapping[str, tuple[Called, ...]] = field(init=False, compare=False)
    """Place → what is called there; only places that the request has."""
    numbers: tuple[str, ...] = field(init=False, compare=False)
    """The different bare numbers that it calls, in the order of places."""
    accounts: tuple[str, ...] = field(init=False, compare=False)
    """The different texts that could be the account of a trunk; its numbers come first."""

    def __post_init__(self) -> None:
        """Find tokens and numbers once: evidence and rules both ask for them."""
        places: dict[str, tuple[Called, ...]] = {REQUEST_URI: (Called.by(self.ruri),)}
        if self.p_called_party_id is not None:
            places[P_CALLED_PARTY_ID] = (Called.by(self.p_called_party_id),)
        if self.to is not None:
            places[TO] = (Called.by(self.to),)
        for header, uris in self.others.items():
            places[header] = tuple([Called.by(uri) for uri in uris])
        every = [one for place in places.values() for one in place]
        numbers = dict.fromkeys([one.number for one in every if one.number is not None])
        accounts = numbers.copy()
        for one in every:
            accounts.update(dict.fromkeys(one.accounts))
        user, line = self.ruri.user, self.ruri.params.get("line")
        tokens = [user] if user else []
        if ";" in user:
            tokens.append(user.partition(";")[0])
        if line and line != user:
            tokens.append(line)
        put = object.__setattr__
        put(self, "tokens", tuple(tokens))
        put(self, "called", places)
        put(self, "numbers", tuple(numbers))
        put(self, "accounts", tuple(accounts))


class Evidence(NamedTuple):
    """What the directory holds about one request: no more than can matter to it."""

    trunks: tuple[Trunk, ...]
    """Enabled trunks with an address at the source's ip, whether or not it admits it: all that the
    request's own words name, and at least two each, if there are, of those that do admit it, that
    were learned from its port, and that are a fallback (there, and from its port)."""
    token_owners: dict[str, str]
    """Token in the request → id of the trunk whose token it is, wherever that is; a disabled one's
    too."""
    number_owners: dict[tuple[str, str], str]
    """(bare number of the request, id of a trunk that owns it) → the number, or closest
    prefix, by which it does. Wherever the trunk is; a disabled one too."""
    account_owners: Mapping[str, tuple[str, ...]] = _NONE
    """Text of the request → ids of the trunks whose account it is. An account that is a telephone
    number is there in all its spellings. Wherever they are; disabled ones too."""
    e164: Mapping[tuple[str, str], str] = _NONE
    """(bare number, trunk id) → the same with + and country, of a number or account of that trunk;
    none where it is not known."""
    pilots: Collection[tuple[str, str]] = frozenset()
    """(bare number, trunk id) of numbers that begin a prefix of the trunk, or stand beside one that
    holds them too: the number of its whole block."""

    def owners(self, one: Called) -> tuple[str, ...]:
        """Ids of all trunks that are named by their number or account, in order."""
        found = [id_ for text in one.accounts for id_ in self.account_owners.get(text, ())]
        found += [id_ for number, id_ in self.number_owners if number == one.number]
        return tuple(sorted(set(found)))

    def as_of(self, at: float) -> Evidence:
        """What of it stood at `at` already: without the addresses that came to be there later."""
        return self._replace(
            trunks=tuple(
                trunk._replace(addresses=tuple(a for a in trunk.addresses if a.learned_at <= at))
                for trunk in self.trunks
            )
        )

    def good_until(self, now: float) -> float:
        """Until when a decision on this stands, as far as time alone can change it."""
        ends = [a.expires_at for t in self.trunks for a in t.addresses if a.expires_at is not None]
        return min((at for at in ends if at > now), default=inf)
