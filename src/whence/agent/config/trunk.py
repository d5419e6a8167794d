"""[[trunk]] and [[user]] of the file."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from whence.agent.config import networks as pins
from whence.agent.config.files import read_secret
from whence.agent.config.toml import Table
from whence.agent.config.validators import (
    DAY_S,
    AorUser,
    Country,
    Name,
    Number,
    NumberHeaders,
    OptionalDomain,
    Password,
    check_keepalive,
    check_optional_server,
    check_printable,
    check_server,
    check_target,
)
from whence.core.identification.address import Address, ManagedBy, Origin
from whence.core.identification.trunk import NUMBER_HEADERS
from whence.core.sip.digest import Credentials, ha1
from whence.core.sip.secret import Secret
from whence.core.sip.transport_address import Transport, canonical_network
from whence.core.sip.uri import Uri

_HA1_LENGTH = {"md5": 32, "sha256": 64}


_ALGORITHM = {"md5": "MD5", "sha256": "SHA-256"}


class Ha1(Table):
    """H(user:realm:password), instead of the password."""

    md5: SecretStr | None = None
    sha256: SecretStr | None = None

    @field_validator("md5", "sha256")
    @classmethod
    def _hex(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        length = _HA1_LENGTH[str(info.field_name)]
        if value and not re.fullmatch(f"[0-9a-f]{{{length}}}", value.get_secret_value().lower()):
            raise ValueError(f"is not {length} hex digits; write H(user:realm:password) in hex")
        return value

    def by_algorithm(self) -> dict[str, Secret]:
        """Algorithm as a challenge names it → HA1."""
        given = {"md5": self.md5, "sha256": self.sha256}
        return {
            _ALGORITHM[name]: Secret(value.get_secret_value().lower())
            for name, value in given.items()
            if value
        }


_ANY: frozenset[str] = frozenset()


class PinnedNetwork(Table):
    """One of a trunk's `networks`: from where its calls may come, whoever registered where."""

    network: Annotated[str, BeforeValidator(pins.network)]
    port: int | None = Field(default=None, ge=1, le=65535)
    transport: Literal["udp", "tcp", "tls"] | None = None
    expires_at: Annotated[float | None, BeforeValidator(pins.instant)] = None
    note: Annotated[str, Field(max_length=200), AfterValidator(check_printable)] = ""

    @property
    def admits_from(self) -> Transport:
        """The weakest transport that it admits: any, unless it says one."""
        return Transport(self.transport or "udp")

    @property
    def place(self) -> tuple[str, int | None, Transport]:
        """What makes it another one than the next."""
        return self.network, self.port, self.admits_from

    def lasts(self, now: float) -> bool:
        """Return whether it has not expired."""
        return self.expires_at is None or now < self.expires_at

    def address(self, now: float) -> Address:
        """Return it as an address that stands from `now` on."""
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
    """Read one of `networks`: a text, or a table of what is wanted of it."""
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return {"network": pins.network(value)}
    raise ValueError(
        f'"{value}" is not a network; write "198.51.100.0/24" or '
        '{network = "198.51.100.0/24", port = 5060}'
    )


class TrunkConfig(Table):
    """`[[trunk]]`: one account at a provider."""

    id: Name
    registrar: Annotated[str, AfterValidator(check_server)]
    proxy: Annotated[str, AfterValidator(check_optional_server)] = ""
    user: AorUser
    domain: OptionalDomain = ""
    auth_user: Annotated[str, AfterValidator(check_printable)] = ""
    password: Password | None = None
    password_file: str = ""
    ha1: Ha1 | None = None
    realm: Annotated[str, AfterValidator(check_printable)] = ""
    expires: int = Field(default=3600, ge=1, le=7 * DAY_S)
    contact: Literal["token", "line"] = "token"
    rewrites_contact: bool = False
    keepalive: Annotated[float, AfterValidator(check_keepalive)] = 0
    target: Annotated[str, AfterValidator(check_target)]
    numbers: list[Number] = []
    country: Country = ""
    number_headers: NumberHeaders = NUMBER_HEADERS
    number_format: Literal["as_sent", "e164", "national", "plain"] = "as_sent"
    unmatched: Literal["accept", "refuse"] = "accept"
    fallback: bool = False
    follow_dns: bool = True
    learn_from: Literal["asked", "any"] = "asked"
    port: Literal["any", "exact"] = "any"
    networks: list[Annotated[PinnedNetwork, BeforeValidator(as_pin)]] = []
    enabled: bool = True

    @field_validator("networks")
    @classmethod
    def _pinned_once(cls, networks: list[PinnedNetwork]) -> list[PinnedNetwork]:
        for place, times in Counter(pin.place for pin in networks).items():
            if times > 1:
                raise ValueError(f'"{place[0]}" is there {times} times; write it once')
        return networks

    @model_validator(mode="after")
    def _one_secret(self, info: ValidationInfo) -> TrunkConfig:
        given = [self.password, self.password_file or None, self.ha1]
        if sum(secret is not None for secret in given) != 1:
            raise ValueError(
                'says not once how to log in; write one of password = "…", password_file = "…", '
                'ha1 = {md5 = "…"}'
            )
        if self.ha1 and not self.ha1.by_algorithm():
            raise ValueError('ha1: is empty; write ha1 = {md5 = "…", sha256 = "…"}')
        if self.fallback and self.unmatched == "refuse":
            raise ValueError(
                'fallback: takes the calls that name no trunk, and unmatched = "refuse" refuses '
                "them; write one of the two"
            )
        if self.password_file:
            password = read_secret(self.password_file, info)
            object.__setattr__(self, "password", password)
        # Which keys were written is a third of a trunk's memory, and nobody asks.
        object.__setattr__(self, "__pydantic_fields_set__", _ANY)
        return self

    @property
    def aor(self) -> str:
        """`sip:user@domain`; the domain is the registrar's host where none is given."""
        registrar = Uri.parse(self.registrar)
        host = registrar.host if registrar else ""
        return f"sip:{self.user}@{self.domain or (f'[{host}]' if ':' in host else host)}"

    @property
    def server(self) -> Uri:
        """Where its REGISTERs go: the outbound proxy, or the registrar."""
        uri = Uri.parse(self.proxy or self.registrar)
        if uri is None:  # the validators have seen to that
            raise ValueError(self.registrar)
        return uri

    @property
    def servers(self) -> tuple[Uri, ...]:
        """The registrar and the outbound proxy: whose addresses in DNS may answer a REGISTER."""
        texts = dict.fromkeys(text for text in (self.proxy, self.registrar) if text)
        return tuple(uri for uri in map(Uri.parse, texts) if uri is not None)

    def pinned(self, now: float) -> tuple[Address, ...]:
        """Return its `networks` as addresses, without those that have expired."""
        return tuple(pin.address(now) for pin in self.networks if pin.lasts(now))

    def credentials(self) -> Credentials:
        """Who we are to the registrar."""
        password = Secret(self.password.get_secret_value()) if self.password else None
        known = self.ha1.by_algorithm() if self.ha1 else {}
        return Credentials(self.auth_user or self.user, password, tuple(known.items()), self.realm)


class UserConfig(Table):
    """`[[user]]`: a local user, whose phone registers here."""

    name: Name
    password: Password | None = None
    ha1: Ha1 | None = None

    @model_validator(mode="after")
    def _one_secret(self) -> UserConfig:
        if (self.password is None) == (self.ha1 is None):
            raise ValueError(
                'says not once how to log in; write password = "…" or ha1 = {md5 = "…"}'
            )
        if self.ha1 and not self.ha1.md5:
            raise ValueError('ha1: has no md5, which phones are asked for; write ha1 = {md5 = "…"}')
        return self

    def md5(self, domain: str) -> Secret:
        """HA1 (MD5) of the user at `domain`, which is the realm."""
        if self.ha1:
            return self.ha1.by_algorithm()["MD5"]
        password = self.password.get_secret_value() if self.password else ""
        return Secret(ha1("MD5", self.name, domain, Secret(password)))
