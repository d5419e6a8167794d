"""What the operator sets: trunks, users, and how the agent registers. Values without a parser.

The agent builds them from its file (`agent/config/to_core.py`). Registration, DNS and provisioning
read these values, and never the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from whence.core.identification.address import GRACE_S, Address
from whence.core.identification.trunk import NUMBER_HEADERS
from whence.core.registration.backoff import WAITS, Waits
from whence.core.registration.model import AccountKey
from whence.core.sip.digest import Credentials
from whence.core.sip.secret import Secret
from whence.core.sip.sockets import LOCAL, EdgeSockets
from whence.core.sip.uri import Uri


@dataclass(frozen=True, slots=True)
class TrunkSettings:
    """One trunk: the account that it registers, and what identifies and routes its calls."""

    id: str
    user: str
    """The user of its address-of-record, without escapes."""
    aor: str
    """`sip:user@domain`"""
    registrar: str
    """The URI of the registrar, as the operator wrote it."""
    credentials: Credentials
    target: str
    """Where its calls go."""
    proxy: str = ""
    """The URI of the outbound proxy; empty: none."""
    expires_s: int = 3600
    """For how long the agent asks to be registered."""
    contact: Literal["token", "line"] = "token"
    """Where our Contact has the trunk's token: its user, or its parameter `line`."""
    rewrites_contact: bool = False
    """Whether the provider is known to rewrite Contacts."""
    keepalive_s: float = 0.0
    """The interval of its keep-alives; 0: none."""
    follow_dns: bool = True
    learn_from: Literal["asked", "any"] = "asked"
    match_port: bool = False
    """Whether its learned addresses admit no port but their own."""
    networks: tuple[Address, ...] = ()
    """Its pinned addresses, also those that have expired. Their `learned_at` means nothing."""
    numbers: tuple[str, ...] = ()
    """Its numbers and prefixes, as the operator wrote them."""
    country_code: str = ""
    """The calling code of the country whose national numbers its provider writes."""
    number_headers: tuple[str, ...] = NUMBER_HEADERS
    """Headers in which its number or account is looked for, in this order; in small letters."""
    number_format: Literal["as_sent", "e164", "national", "plain"] = "as_sent"
    """How `{number}` is written for its target."""
    unmatched: Literal["accept", "refuse"] = "accept"
    """Whether it takes a call that names no trunk."""
    fallback: bool = False
    """Whether it takes a call that could be several trunks'."""
    enabled: bool = True
    """Whether the agent registers it, and the edge admits its calls."""

    @property
    def account_key(self) -> AccountKey:
        """Return for whom and where it registers: a change of it makes another registration."""
        return AccountKey(self.aor, self.proxy or self.registrar)

    @property
    def server(self) -> Uri:
        """Return where its REGISTERs go: the outbound proxy, or the registrar."""
        return _uri(self.proxy or self.registrar)

    @property
    def servers(self) -> tuple[Uri, ...]:
        """Return the proxy and the registrar: their addresses in DNS may answer a REGISTER."""
        texts = dict.fromkeys(text for text in (self.proxy, self.registrar) if text)
        return tuple(_uri(text) for text in texts)

    def pinned(self, now: float) -> tuple[Address, ...]:
        """Return its pinned addresses as they are from `now` on, without the expired ones."""
        return tuple(a._replace(learned_at=now) for a in self.networks if a.live(now))


@dataclass(frozen=True, slots=True)
class UserSettings:
    """A local user, whose phone registers at the edge."""

    name: str
    domain: str
    """Its realm."""
    ha1: Secret
    """MD5(name:domain:password), in hex."""


@dataclass(frozen=True, slots=True)
class RegistrationSettings:
    """How the agent registers all trunks."""

    sockets: EdgeSockets = LOCAL
    waits: Waits = WAITS
    rate: float = 1000.0
    """How many attempts may begin in a second."""
    rate_per_registrar: float = 50.0
    """How many of them at one registrar."""
    grace_s: float = GRACE_S
    """For how long a learned address outlives its registration."""
    unregisters_on_stop: bool = True


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """All trunks and users of one node, and how it registers the trunks."""

    trunks: tuple[TrunkSettings, ...] = ()
    users: tuple[UserSettings, ...] = ()
    registration: RegistrationSettings = RegistrationSettings()


def further_number_headers(named: Iterable[Iterable[str]]) -> list[str]:
    """Return all headers of trunks' `number_headers`, but for those that are always read."""
    return sorted({header for headers in named for header in headers} - set(NUMBER_HEADERS))


def _uri(text: str) -> Uri:
    uri = Uri.parse(text)
    if uri is None:  # the parser of the settings has checked it
        raise ValueError(text)
    return uri
