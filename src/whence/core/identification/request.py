"""The input of identification: a request, and the evidence that the directory holds for it."""

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
"""Place where a request may name a trunk → its name for people."""


class Called(NamedTuple):
    """What one URI of a request may name: a number, or accounts."""

    user: str
    number: str | None
    """The bare telephone number; None: the URI has none."""
    accounts: tuple[str, ...]
    """Texts that may be the account of a trunk; case matters (RFC 3261 19.1.4)."""

    @classmethod
    def by(cls, uri: Uri) -> Called:
        """Read the number and accounts of a URI."""
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
    """The parts of a request outside a dialog that identification reads."""

    source: TransportAddress
    ruri: Uri
    to: Uri | None = None
    p_called_party_id: Uri | None = None
    others: Mapping[str, tuple[Uri, ...]] = field(default_factory=lambda: NO_HEADERS)
    """Further headers of the trunks' `number_headers`: name in lower case → URIs, in the order of
    their weight."""
    tokens: tuple[str, ...] = field(init=False, compare=False)
    """Texts that may be the token of a trunk: the Request-URI's user and parameter `line`."""
    called: Mapping[str, tuple[Called, ...]] = field(init=False, compare=False)
    """Place → what it names; only places that the request has."""
    numbers: tuple[str, ...] = field(init=False, compare=False)
    """The distinct bare numbers, in the order of the places."""
    accounts: tuple[str, ...] = field(init=False, compare=False)
    """The distinct texts that may be the account of a trunk; the numbers come first."""

    def __post_init__(self) -> None:
        """Derive tokens, numbers and accounts once, for evidence and rules."""
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
    """The part of the directory that can matter to one request."""

    trunks: tuple[Trunk, ...]
    """Enabled trunks with an address that holds the source's ip, even if it does not admit it. All
    that the request names are here. Of each other kind there are at least two, if they exist: those
    that admit the source, that were learned from its port, and that are a fallback."""
    token_owners: dict[str, str]
    """Token in the request → id of its trunk, also of one that is disabled or elsewhere."""
    number_owners: dict[tuple[str, str], str]
    """(bare number of the request, id of a trunk that owns it) → its number or longest prefix that
    holds it. Also of trunks that are disabled or elsewhere."""
    account_owners: Mapping[str, tuple[str, ...]] = _NONE
    """Text of the request → ids of the trunks whose account it is, in any spelling of a telephone
    number. Also of trunks that are disabled or elsewhere."""
    e164: Mapping[tuple[str, str], str] = _NONE
    """(bare number, trunk id) → the number or account of that trunk in E.164, if it is known."""
    pilots: Collection[tuple[str, str]] = frozenset()
    """(bare number, trunk id) of pilot numbers: the trunk has a prefix that begins with the number,
    or lists it beside a prefix that holds it."""

    def owners(self, one: Called) -> tuple[str, ...]:
        """Return the sorted ids of all trunks whose number or account is named."""
        found = [id_ for text in one.accounts for id_ in self.account_owners.get(text, ())]
        found += [id_ for number, id_ in self.number_owners if number == one.number]
        return tuple(sorted(set(found)))

    def as_of(self, at: float) -> Evidence:
        """Return the evidence without the addresses that were stored after `at`."""
        return self._replace(
            trunks=tuple(
                trunk._replace(addresses=tuple(a for a in trunk.addresses if a.learned_at <= at))
                for trunk in self.trunks
            )
        )

    def good_until(self, now: float) -> float:
        """Return the next instant after `now` at which an address expires; infinity without one."""
        ends = [a.expires_at for t in self.trunks for a in t.addresses if a.expires_at is not None]
        return min((at for at in ends if at > now), default=inf)
