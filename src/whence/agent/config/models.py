"""The file `whence.toml`: what may stand in it, and every fault of it, told at once.

A wrong file is refused whole. Each fault says where it is, what is there, and what would be right.
`packaging/whence.toml` shows every key with its meaning.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from whence.agent.config.files import DEBIANS_CAS, no_password, readable, writable
from whence.agent.config.toml import Table
from whence.agent.config.trunk import TrunkConfig, UserConfig
from whence.agent.config.validators import (
    DAY_S,
    Country,
    Domain,
    Share,
    Socket,
    Wait,
    check_advertised,
    check_api_address,
    check_nameserver,
    check_webhook_url,
    parse_ip_and_port,
    state_path,
)
from whence.core.identification.address import GRACE_S
from whence.core.registration.backoff import WAITS, Backoff, Waits
from whence.core.settings import further_number_headers
from whence.core.sip.sockets import EdgeSockets
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.trust.paths import NamedFile
from whence.trust.tokens import webhook_token


class TlsConfig(Table):
    """`[edge.tls]`: our certificate, and whose we believe. Paths: absolute, or beside the file."""

    certificate: str = ""
    key: str = ""
    ca: str = DEBIANS_CAS

    @model_validator(mode="after")
    def _there(self, info: ValidationInfo) -> TlsConfig:
        folder = (info.context or {}).get("folder", Path())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key go together; write both")
        if not self.certificate:
            return self  # nothing goes over TLS then
        for name in ("certificate", "key", "ca"):
            object.__setattr__(self, name, readable(name, getattr(self, name), folder))
        try:
            context.load_cert_chain(self.certificate, self.key, password=no_password)
        except (ssl.SSLError, ValueError):
            raise ValueError(
                f'certificate: "{self.certificate}" and key "{self.key}" do not belong '
                "together, are not in PEM, or need a password; write a pair that needs none"
            ) from None
        try:
            context.load_verify_locations(self.ca)
        except ssl.SSLError:
            raise ValueError(
                f'ca: "{self.ca}" holds no certificates in PEM; write the file of the CAs that '
                "sign registrars' certificates"
            ) from None
        return self


class EdgeConfig(Table):
    """`[edge]`: Kamailio and its sockets."""

    listen: list[Socket] = Field(
        default=[TransportAddress.parse("udp:127.0.0.1:5060")], min_length=1
    )
    inside: Socket = TransportAddress.parse("udp:127.0.0.1:5062")
    advertise: Annotated[str, AfterValidator(check_advertised)] = ""
    domain: Domain = "edge.example"
    workers: int = Field(default=2, ge=1, le=64)
    country: Country = ""
    flood: int = Field(default=100, ge=0, le=30_000)
    connections: int = Field(default=8192, ge=64, le=100_000)
    connections_per_source: int = Field(default=64, ge=0, le=100_000)
    password_failures: int = Field(default=10, ge=0, le=10_000)
    tls: TlsConfig = TlsConfig.model_construct()

    @field_validator("inside")
    @classmethod
    def _loopback(cls, inside: TransportAddress) -> TransportAddress:
        if inside.transport is not Transport.UDP or not inside.ip.is_loopback:
            raise ValueError(f'"{inside}" is not a loopback UDP socket; write "udp:127.0.0.1:5062"')
        return inside

    @model_validator(mode="after")
    def _apart(self) -> EdgeConfig:
        if self.inside in self.listen:
            raise ValueError(
                f'inside: "{self.inside}" is in listen too; it is for the agent alone, '
                'write another port, "udp:127.0.0.1:5062"'
            )
        if self.has_tls and not self.tls.certificate:
            raise ValueError(
                'listen: a "tls:" socket needs a certificate; write [edge.tls] with certificate = '
                '"cert.pem" and key = "key.pem"'
            )
        if self._advertised[1] and len({socket.port for socket in self.listen}) > 1:
            raise ValueError(
                f'advertise: "{self.advertise}" is one port for sockets of several; write the ip '
                f'alone, "{self._advertised[0]}": each socket is then seen at its own port'
            )
        if len(set(self.listen)) < len(self.listen):
            raise ValueError("listen: names the same socket twice; write it once")
        return self

    @property
    def _advertised(self) -> tuple[str, int | None]:
        """(ip, port or None) of `advertise`; the ip is empty where nothing is advertised."""
        try:
            return str(ip_address(self.advertise)), None
        except ValueError:
            return parse_ip_and_port(self.advertise) if self.advertise else ("", None)

    @property
    def sockets(self) -> EdgeSockets:
        """Return its sockets as a value of the core."""
        return EdgeSockets(tuple(self.listen), *self._advertised)

    @property
    def has_tls(self) -> bool:
        """Whether anything goes over TLS."""
        return any(socket.transport is Transport.TLS for socket in self.listen)

    @property
    def has_streams(self) -> bool:
        """Whether it listens over TCP or TLS."""
        return any(socket.transport is not Transport.UDP for socket in self.listen)


class MonitoringConfig(Table):
    """What every agent remembers, tells and serves."""

    api: Annotated[str, AfterValidator(check_api_address)] = "127.0.0.1:8088"
    calls: int = Field(default=10_000, ge=0, le=1_000_000)
    calls_file: str = ""
    strangers: int = Field(default=1_000, ge=0, le=100_000)
    strangers_alarm: int = Field(default=600, ge=0, le=1_000_000_000)
    webhook: Annotated[str, AfterValidator(check_webhook_url)] = ""
    webhook_token_file: str = ""

    @model_validator(mode="after")
    def _beside(self, info: ValidationInfo) -> Self:
        folder = (info.context or {}).get("folder", Path())
        if self.calls_file:
            object.__setattr__(self, "calls_file", writable(self.calls_file, folder))
        if self.webhook_token_file:
            path = (folder / self.webhook_token_file).absolute()
            webhook_token(path)
            object.__setattr__(self, "webhook_token_file", str(path))
        return self

    def named_files(self) -> Iterator[NamedFile]:
        """Give the files that are named here."""
        if self.calls_file:
            yield NamedFile("agent: calls_file", Path(self.calls_file), written=True)
        if self.webhook_token_file:
            yield NamedFile("agent: webhook_token_file", Path(self.webhook_token_file), secret=True)

    @property
    def api_place(self) -> tuple[str, int]:
        """(ip, port) of the API."""
        return parse_ip_and_port(self.api)


class AgentConfig(MonitoringConfig):
    """`[agent]`: the daemon beside Kamailio."""

    state: Annotated[str, AfterValidator(state_path)] = "/var/lib/whence"
    on_stop: Literal["unregister", "leave"] = "unregister"
    grace: int = Field(default=int(GRACE_S), ge=0, le=3600)
    nameserver: Annotated[str, AfterValidator(check_nameserver)] = ""
    sibling_ttl: Wait = [300, 3600]

    @property
    def nameserver_place(self) -> tuple[str, int] | None:
        """(ip, port) of the name server; None for those of the system."""
        return parse_ip_and_port(self.nameserver) if self.nameserver else None


class RegistrationConfig(Table):
    """`[registration]`: how patient and how fast; `Waits` has the reason of each default."""

    wrong_credentials: Wait = [600, 86_400]
    refused: Wait = [300, 3_600]
    unreachable: Wait = [30, 1_800]
    retry_after_limit: float = Field(default=86_400, gt=0, le=7 * DAY_S)
    refresh: Share = [0.7, 0.8]
    answer: float = Field(default=32, ge=0.5, le=120)
    rate: float = Field(default=1000, gt=0, le=100_000)
    rate_per_registrar: float = Field(default=50, gt=0, le=100_000)

    def waits(self) -> Waits:
        """The waiting times as the core takes them."""

        def backoff(pair: list[float], jitter: float) -> Backoff:
            return Backoff(pair[0], pair[1], jitter)

        return Waits(
            wrong_credentials=backoff(self.wrong_credentials, WAITS.wrong_credentials.jitter),
            refused=backoff(self.refused, WAITS.refused.jitter),
            unreachable=backoff(self.unreachable, WAITS.unreachable.jitter),
            retry_after_limit_s=self.retry_after_limit,
            refresh_from=self.refresh[0],
            refresh_to=self.refresh[1],
        )


class Config(Table):
    """The whole file."""

    edge: EdgeConfig = EdgeConfig()
    agent: AgentConfig = AgentConfig()
    registration: RegistrationConfig = RegistrationConfig()
    trunk: list[TrunkConfig] = []
    user: list[UserConfig] = []

    @property
    def state(self) -> Path:
        """The state directory."""
        return Path(self.agent.state)

    def named_files(self, file: Path) -> Iterator[NamedFile]:
        """Give the files whose content counts: `file`, from which these were read, and those that
        are named in it.
        """
        has_secret = bool(self.user) or any(not trunk.password_file for trunk in self.trunk)
        yield NamedFile("", file, secret=has_secret)
        folder = file.absolute().parent
        for named in sorted({trunk.password_file for trunk in self.trunk} - {""}):
            yield NamedFile("password_file", folder / named, secret=True)
        if self.edge.tls.certificate:
            yield NamedFile("edge: tls: certificate", Path(self.edge.tls.certificate))
            yield NamedFile("edge: tls: key", Path(self.edge.tls.key), secret=True)
            yield NamedFile("edge: tls: ca", Path(self.edge.tls.ca))
        yield from self.agent.named_files()

    def expired_pins(self, now: float) -> list[str]:
        """One sentence for each pinned network that admits nobody any more."""
        return [
            f'trunk "{trunk.id}": networks[{i}]: "{pin.network}" has expired; take it out'
            for trunk in self.trunk
            for i, pin in enumerate(trunk.networks)
            if pin.expires_at is not None and pin.expires_at <= now
        ]

    def country_of(self, trunk: TrunkConfig) -> str:
        """The calling code of the country in which a trunk's provider is; empty: not said."""
        return trunk.country or self.edge.country

    @property
    def number_headers(self) -> list[str]:
        """All headers that some trunk names, but for those that are always read."""
        return further_number_headers(trunk.number_headers for trunk in self.trunk)
