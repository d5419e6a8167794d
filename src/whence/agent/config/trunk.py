"""Models of `[[trunk]]` and `[[user]]` in the settings file."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from whence.agent.config import networks as pinned_networks
from whence.agent.config.files import read_secret
from whence.agent.config.outbound import LimitsConfig, Names, TrunkOutboundConfig
from whence.agent.config.sip_headers import NumberHeaders, RegisterHeaders
from whence.agent.config.toml import SECONDS, KeyName, Table
from whence.agent.config.uris import (
    AorUser,
    EdgeTransport,
    OptionalDomain,
    check_optional_server,
    check_server,
    check_target,
    own_uri,
)
from whence.agent.config.validators import (
    DAY_S,
    CountryCode,
    Name,
    Number,
    Password,
    Socket,
    check_keepalive,
    check_printable,
)
from whence.core.identification.address import Address, ManagedBy, Origin
from whence.core.identification.trunk import NUMBER_HEADERS
from whence.core.sip.digest import Credentials, ha1
from whence.core.sip.secret import Secret
from whence.core.sip.transport_address import Transport, canonical_network
from whence.core.sip.uri import Uri, host_text

_HA1_LENGTH = {"md5": 32, "sha256": 64}


_ALGORITHM = {"md5": "MD5", "sha256": "SHA-256"}


class Ha1(Table):
    """H(user:realm:password), instead of the password."""

    md5: SecretStr | None = None
    """MD5 of `user:realm:password`, 32 hex digits."""
    sha256: SecretStr | None = None
    """SHA-256 of `user:realm:password`, 64 hex digits."""

    @field_validator("md5", "sha256")
    @classmethod
    def _hex(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        length = _HA1_LENGTH[str(info.field_name)]
        if value and not re.fullmatch(f"[0-9a-f]{{{length}}}", value.get_secret_value().lower()):
            raise ValueError(f"is not {length} hex digits; write H(user:realm:password) in hex")
        return value

    def by_algorithm(self) -> dict[str, Secret]:
        """Return the HA1 of each algorithm. The names are those of challenges (RFC 8760)."""
        given = {"md5": self.md5, "sha256": self.sha256}
        return {
            _ALGORITHM[name]: Secret(value.get_secret_value().lower())
            for name, value in given.items()
            if value
        }


_ANY: frozenset[str] = frozenset()


class PinnedNetwork(Table):
    """One of a trunk's `networks`: calls from it are admitted, registered or not."""

    network: Annotated[str, BeforeValidator(pinned_networks.network)] = Field(
        examples=["198.51.100.0/24"]
    )
    """An ip address or a network. Networks wider than /8 (IPv6: /16) are refused."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """The only source port that is admitted. Without it: any port."""
    transport: EdgeTransport | None = None
    """The weakest transport that is admitted: `udp`, `tcp`, `tls`, in this order. Without it: any,
    also UDP, whose source address is easy to forge.
    """
    expires_at: Annotated[float | None, BeforeValidator(pinned_networks.instant)] = Field(
        default=None, examples=["2030-12-31T18:00:00Z"]
    )
    """When the entry ends: a date and time of TOML, or a text of ISO 8601, with a time zone. An
    expired entry admits no call; `whence check` names it.
    """
    note: Annotated[str, Field(max_length=200), AfterValidator(check_printable)] = ""
    """A remark, which `whence addresses` shows."""

    @property
    def admits_from(self) -> Transport:
        """The weakest transport that it admits. Without `transport` this is UDP, so any."""
        return Transport(self.transport or "udp")

    @property
    def place(self) -> tuple[str, int | None, Transport]:
        """The key by which two entries are duplicates: network, port, weakest transport."""
        return self.network, self.port, self.admits_from

    def lasts(self, now: float) -> bool:
        """Return whether it is valid at `now`."""
        return self.expires_at is None or now < self.expires_at

    def address(self, now: float) -> Address:
        """Return it as an address that is valid from `now` on."""
        return Address(
            canonical_network(self.network),
            self.port,
            self.admits_from,
            Origin.PINNED,
            socket="",
            learned_at=now,
            expires_at=self.expires_at,
            exact=self.port is not None,
            note=self.note,
            managed_by=ManagedBy.FILE,
        )


def as_pin(value: Any) -> Any:
    """Return an entry of `networks` as a table: a text is its `network`. Raises ValueError."""
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return {"network": pinned_networks.network(value)}
    raise ValueError(
        f'"{value}" is not a network; write "198.51.100.0/24" or '
        '{network = "198.51.100.0/24", port = 5060}'
    )


class TrunkConfig(Table):
    """`[[trunk]]`: one account at a provider."""

    id: Name
    """Name of the trunk: in logs, in the API, in the header `X-Whence-Trunk`."""
    registrar: Annotated[str, AfterValidator(check_server)] = Field(
        examples=["sip:sip.provider.example:5061;transport=tls"]
    )
    """SIP URI of the registrar: host or ip, optional port, optional `;transport=tcp` or
    `;transport=tls`. RFC 3263 finds its addresses.
    """
    proxy: Annotated[str, AfterValidator(check_optional_server)] = ""
    """SIP URI of the outbound proxy, in the same form. Empty: REGISTERs go to the registrar."""
    user: AorUser
    """User of the account: the address-of-record is `sip:user@domain`. It is written as in a URI:
    `%40` for `@`, `%23` for `#`, `%20` for a blank.
    """
    domain: OptionalDomain = Field(default="", examples=["provider.example:5070", "[2001:db8::1]"])
    """Domain of the account: a host, or `host:port`. The port is in the Request-URI of its
    REGISTERs, and not in the address-of-record. Empty: the host of `registrar`.
    """
    auth_user: Annotated[str, AfterValidator(check_printable)] = ""
    """User name of the digest. Empty: `user`, without its escapes."""
    password: Password | None = None
    """Password. A trunk has exactly one of `password`, `password_file` and `ha1`."""
    password_file: str = Field(default="", examples=["acme.password"])
    """File with the password. A path is absolute, or relative to the settings file."""
    ha1: Ha1 | None = Field(default=None, examples=[{"md5": "…", "sha256": "…"}])
    """Hash of `auth_user:realm:password` instead of the password."""
    realm: Annotated[str, AfterValidator(check_printable)] = ""
    """The only realm whose challenges are answered. Empty: any."""
    expires: Annotated[int, SECONDS] = Field(default=3600, ge=1, le=7 * DAY_S)
    """Time that the agent asks for. The registrar may grant another time, which then counts."""
    contact: Literal["token", "line"] = "token"
    """Form of the registered Contact: `token` has a random user part, `line` has `user` and the
    parameter `line=` with the token.
    """
    socket: Socket | None = Field(default=None, examples=["udp:192.0.2.1:5060"])
    """Our socket, one of `listen`, from which the REGISTERs are sent. The Contact has its address.
    Without it: the socket on the kernel's route to the registrar.
    """
    headers: Annotated[RegisterHeaders, KeyName("name")] = Field(
        default={}, examples=[{"User-Agent": "…", "X-Account": "…"}]
    )
    """Headers that the agent adds to its REGISTERs and keep-alives. `User-Agent`, `Allow` and
    `Supported` replace those of Whence.
    """
    rewrites_contact: bool = False
    """`true`: the provider rewrites Contacts, so the only Contact in its 200 counts as ours."""
    keepalive: Annotated[float, AfterValidator(check_keepalive), SECONDS] | None = None
    """Interval of OPTIONS to the server that accepted the REGISTER, 1 to 3600. After three without
    an answer the agent refreshes at once, and so finds the next server. 0: none. Without it: 110
    over TCP and TLS, which keeps the connection open, and none over UDP. Unanswered OPTIONS of this
    default change nothing.
    """
    target: Annotated[str, AfterValidator(check_target)] = Field(
        examples=["sip:{number}@192.0.2.9:5060"]
    )
    """SIP URI that gets the calls: a local user, or any other. `{number}` is the called number: an
    extension in P-Called-Party-ID or To comes before the account or pilot number.
    """
    numbers: list[Number] = Field(default=[], examples=[["+442071234567", "+4420712345*"]])
    """Telephone numbers of this trunk. They distinguish trunks at one address. A star at the end
    makes a prefix; a number, or a longer prefix, of another trunk comes first.
    """
    country: CountryCode = ""
    """Calling code of the country in which this provider writes numbers nationally. Empty: that of
    `[edge]`.
    """
    number_headers: NumberHeaders = Field(default=NUMBER_HEADERS, examples=[["Diversion", "To"]])
    """Headers in which the edge looks for a number or account after the Request-URI, in this order,
    8 at most. Also `Diversion`, `History-Info`, `P-Preferred-Identity` or a header of the
    provider.
    """
    number_format: Literal["as_sent", "e164", "national", "plain"] = "as_sent"
    """How `{number}` is written: `as_sent`; `e164` +442071234567; `national` 02071234567 of
    `country`; `plain` 442071234567. A number without known country stays as sent.
    """
    unmatched: Literal["accept", "refuse"] = "accept"
    """What happens to a call that names no trunk, where this trunk is the only one at its address:
    `accept` or `refuse`.
    """
    fallback: bool = False
    """This trunk gets a call that could belong to several trunks at its address."""
    follow_dns: bool = True
    """While the trunk is registered, the other addresses of its registrar and proxy in DNS admit
    calls, too.
    """
    learn_from: Literal["asked", "any"] = "asked"
    """From which answers to a REGISTER the agent learns the source address: `asked`, from those of
    expected servers; `any`, from all. `any` is for a provider that needs it.
    """
    match_port: bool = False
    """`true`: a call must come from the port that answered the REGISTER. `false`: from any port."""
    networks: list[Annotated[PinnedNetwork, BeforeValidator(as_pin)]] = Field(
        default=[], examples=[["198.51.100.0/24", {"network": "192.0.2.0/28", "port": 5060}]]
    )
    """Addresses that admit calls whether the trunk is registered or not: texts, or tables with the
    keys of a [networks entry](#networks).
    """
    outbound: TrunkOutboundConfig = TrunkOutboundConfig()
    """What the provider gets of users' calls, and their limits."""
    enabled: bool = True
    """`false`: the agent unregisters the trunk, and its calls are not admitted."""

    @field_validator("networks")
    @classmethod
    def _pinned_once(cls, networks: list[PinnedNetwork]) -> list[PinnedNetwork]:
        for place, times in Counter(pin.place for pin in networks).items():
            if times > 1:
                raise ValueError(f'"{place[0]}" occurs {times} times; write it once')
        return networks

    @model_validator(mode="after")
    def _one_secret(self, info: ValidationInfo) -> TrunkConfig:
        given = [self.password, self.password_file or None, self.ha1]
        if sum(secret is not None for secret in given) != 1:
            raise ValueError(
                'needs exactly one of password, password_file and ha1; write password = "…", '
                'password_file = "…" or ha1 = {md5 = "…"}'
            )
        if self.ha1 and not self.ha1.by_algorithm():
            raise ValueError('ha1: is empty; write ha1 = {md5 = "…", sha256 = "…"}')
        if self.fallback and self.unmatched == "refuse":
            raise ValueError(
                'fallback: contradicts unmatched = "refuse", which refuses calls that name no '
                "trunk; write one of the two"
            )
        if self.password_file:
            password = read_secret(self.password_file, info)
            object.__setattr__(self, "password", password)
        # The set of the written keys takes a third of a trunk's memory, and is never read.
        object.__setattr__(self, "__pydantic_fields_set__", _ANY)
        return self

    @property
    def aor(self) -> str:
        """`sip:user@domain`. Without `domain` it is the registrar's host."""
        registrar = own_uri(self.registrar)
        domain = self.domain or host_text(registrar.host if registrar else "")
        written = own_uri(f"sip:{domain}")
        if written is not None and written.port is not None:
            domain = domain.rpartition(":")[0]
        return f"sip:{self.user}@{domain}"

    @property
    def aor_user(self) -> str:
        """The user of the address-of-record, without escapes: requests are compared with it."""
        return unquote(self.user)

    @property
    def request_port(self) -> int | None:
        """The port in the Request-URI of its REGISTERs: of `domain`, else of the same `registrar`.

        None: the operator wrote none.
        """
        registrar = own_uri(self.registrar)
        domain = own_uri(f"sip:{self.domain}") if self.domain else registrar
        if registrar is None or domain is None or domain.host.lower() != registrar.host.lower():
            return domain.port if domain is not None else None
        return domain.port or registrar.port

    @property
    def server(self) -> Uri:
        """The next hop of its REGISTERs: the outbound proxy, or the registrar."""
        uri = own_uri(self.proxy or self.registrar)
        if uri is None:  # the validators prevent it
            raise ValueError(self.registrar)
        return uri

    def credentials(self) -> Credentials:
        """Return the credentials for the registrar's challenges."""
        password = Secret(self.password.get_secret_value()) if self.password else None
        known = self.ha1.by_algorithm() if self.ha1 else {}
        return Credentials(
            self.auth_user or self.aor_user, password, tuple(known.items()), self.realm
        )


class UserConfig(Table):
    """`[[user]]`: a local user, whose phone registers here."""

    name: Name
    """Name of the user. A phone registers as `name@domain`, with `domain` of `[edge]`."""
    password: Password | None = None
    """Password. A user has exactly one of `password` and `ha1`."""
    ha1: Ha1 | None = Field(default=None, examples=[{"md5": "…"}])
    """Hash of `name:domain:password` instead of the password; `md5` is required. With `sha256`
    phones may use SHA-256, too.
    """
    trunks: Names = Field(default=[], examples=[["acme", "bolt"]])
    """Trunks for calls to numbers, in the order in which the edge tries them. They need `country`
    of `[edge]`. Empty: the user may call other users only.
    """
    caller_number: str = Field(default="", examples=["+442071234567"])
    """Number that the called party sees. Empty: that of the trunk's account."""
    caller_numbers: list[str] = Field(default=[], examples=[["+4420712345*"]])
    """Further numbers that the phone or PBX may choose, in From or P-Preferred-Identity. A star at
    the end makes a prefix.
    """
    anonymous: bool = False
    """`true`: the called party sees no number, except in emergency calls."""
    limits: LimitsConfig = LimitsConfig()
    """Limits of the user's calls."""

    @model_validator(mode="after")
    def _one_secret(self) -> UserConfig:
        if (self.password is None) == (self.ha1 is None):
            raise ValueError(
                'needs exactly one of password and ha1; write password = "…" or ha1 = {md5 = "…"}'
            )
        if self.ha1 and not self.ha1.md5:
            raise ValueError('ha1: has no md5, which phones need; write ha1 = {md5 = "…"}')
        return self

    def md5(self, domain: str) -> Secret:
        """Return HA1 (MD5) of the user. `domain` is the realm."""
        if self.ha1:
            return self.ha1.by_algorithm()["MD5"]
        return self._ha1("MD5", domain)

    def sha256(self, domain: str) -> Secret | None:
        """Return HA1 (SHA-256) of the user; None if the file has only the one with MD5."""
        if self.ha1:
            return self.ha1.by_algorithm().get("SHA-256")
        return self._ha1("SHA-256", domain)

    def _ha1(self, algorithm: str, domain: str) -> Secret:
        password = self.password.get_secret_value() if self.password else ""
        return Secret(ha1(algorithm, self.name, domain, Secret(password)))
