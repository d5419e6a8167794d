"""The operator's settings as values: trunks, users, and how the agent registers.

`agent/config/to_core.py` builds them from the settings file. Registration, DNS and provisioning
read these values, and never the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from whence.core.identification.address import GRACE_S, Address
from whence.core.identification.trunk import NUMBER_HEADERS
from whence.core.outbound.model import NO_ROUTING, OutboundTrunk, OutboundUser, Routing
from whence.core.registration.backoff import WAITS, Waits
from whence.core.registration.model import AccountKey
from whence.core.sip.digest import Credentials
from whence.core.sip.secret import Secret
from whence.core.sip.sockets import LOCAL, EdgeSockets
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri


@dataclass(frozen=True, slots=True)
class TrunkSettings:
    """One trunk: its account, and the settings that identify and route its calls."""

    id: str
    user: str
    """The user of its address-of-record, without escapes."""
    aor: str
    """`sip:user@domain`"""
    registrar: str
    """The URI of the registrar, as the operator wrote it."""
    credentials: Credentials
    target: str
    """The target of its calls."""
    request_port: int | None = None
    """The port in the Request-URI of its REGISTERs. None: the operator wrote none."""
    socket: TransportAddress | None = None
    """Our socket from which its REGISTERs are sent. None: the kernel's route decides."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers of its REGISTERs, and keep-alives: (name, value)."""
    proxy: str = ""
    """The URI of the outbound proxy; empty: none."""
    expires_s: int = 3600
    """The interval that the agent requests in its REGISTERs."""
    contact: Literal["token", "line"] = "token"
    """Where our Contact has the trunk's token: as its user, or as its parameter `line`."""
    rewrites_contact: bool = False
    """Whether the provider is known to rewrite Contacts."""
    keepalive_s: float | None = None
    """The interval of its keep-alives; 0: none; None: the default of the transport."""
    follow_dns: bool = True
    learn_from: Literal["asked", "any"] = "asked"
    match_port: bool = False
    """Whether its learned addresses admit only their own port."""
    networks: tuple[Address, ...] = ()
    """Its pinned addresses, also expired ones. Their `learned_at` has no meaning."""
    numbers: tuple[str, ...] = ()
    """Its numbers and prefixes, as the operator wrote them."""
    country_code: str = ""
    """The calling code of the country in whose national form its provider writes numbers."""
    number_headers: tuple[str, ...] = NUMBER_HEADERS
    """Headers that may hold its number or account, in this order, in lower case."""
    number_format: Literal["as_sent", "e164", "national", "plain"] = "as_sent"
    """How `{number}` is written for its target."""
    unmatched: Literal["accept", "refuse"] = "accept"
    """Whether it accepts a call that names no trunk."""
    fallback: bool = False
    """Whether it gets the calls that could belong to several trunks."""
    enabled: bool = True
    """Whether the agent registers it, and the edge admits its calls."""
    outbound: OutboundTrunk | None = None
    """How it gets users' calls. None: users call no numbers."""

    @property
    def account_key(self) -> AccountKey:
        """Return its account and server. If they change, it is another registration."""
        return AccountKey(self.aor, self.proxy or self.registrar)

    @property
    def server(self) -> Uri:
        """Return the destination of its REGISTERs: the outbound proxy, or the registrar."""
        return _uri(self.proxy or self.registrar)

    @property
    def servers(self) -> tuple[Uri, ...]:
        """Return proxy and registrar. Their addresses in DNS may answer a REGISTER."""
        texts = dict.fromkeys(text for text in (self.proxy, self.registrar) if text)
        return tuple(_uri(text) for text in texts)

    @property
    def tls_name(self) -> str:
        """Return the name that the certificate of its server needs."""
        return self.server.host.removesuffix(".")  # a certificate names a host without it

    def pinned(self, now: float) -> tuple[Address, ...]:
        """Return its pinned addresses without the expired ones, with `learned_at` set to `now`."""
        return tuple(a._replace(learned_at=now) for a in self.networks if a.live(now))


@dataclass(frozen=True, slots=True)
class UserSettings:
    """A local user, whose phone registers at the edge."""

    name: str
    domain: str
    """Its realm."""
    ha1: Secret
    """MD5(name:domain:password), in hex."""
    sha256: Secret | None = None
    """The same with SHA-256; None: the operator gave only the hash with MD5."""
    caller: OutboundUser | None = None
    """Its settings for calls; None: the defaults."""


@dataclass(frozen=True, slots=True)
class RegistrationSettings:
    """Settings for the registration of all trunks."""

    sockets: EdgeSockets = LOCAL
    waits: Waits = WAITS
    rate: float = 1000.0
    """How many attempts may start in a second."""
    rate_per_registrar: float = 50.0
    """How many attempts may start in a second at one registrar."""
    grace_s: float = GRACE_S
    """How long a learned address outlives its registration."""
    unregisters_on_stop: bool = True


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """All trunks and users of one node, with its registration settings."""

    trunks: tuple[TrunkSettings, ...] = ()
    users: tuple[UserSettings, ...] = ()
    registration: RegistrationSettings = RegistrationSettings()
    routing: Routing = NO_ROUTING
    """The rules for users' calls to numbers."""
    calls_out: bool = False
    """Whether users may call numbers."""


def further_number_headers(named: Iterable[Iterable[str]]) -> list[str]:
    """Return all headers of trunks' `number_headers`, without those that are always read."""
    return sorted({header for headers in named for header in headers} - set(NUMBER_HEADERS))


@lru_cache(maxsize=4096)  # thousands of trunks share a server
def _uri(text: str) -> Uri:
    uri = Uri.parse(text)
    if uri is None:  # the settings parser has checked the text
        raise ValueError(text)
    return uri
