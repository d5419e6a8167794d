"""Models of `whence.toml`, and the checks of its values.

A file with a fault is refused as a whole. Each fault has its place and the right form.
`packaging/whence.toml` shows every key.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from whence.agent.config.files import DEBIAN_CA_FILE, no_password, readable, writable
from whence.agent.config.media import MediaConfig
from whence.agent.config.outbound import OutboundConfig, RouteConfig
from whence.agent.config.phones import PhonesConfig
from whence.agent.config.toml import PER_SECOND, SECONDS, KeyName, Table
from whence.agent.config.trunk import TrunkConfig, UserConfig
from whence.agent.config.uris import Domain
from whence.agent.config.validators import (
    DAY_S,
    UNIX,
    CountryCode,
    Share,
    Socket,
    Wait,
    check_advertised,
    check_api_address,
    check_hep,
    check_hosts,
    check_mail_address,
    check_nameserver,
    check_webhook_url,
    is_local_api,
    parse_advertised,
    parse_ip_and_port,
    state_path,
    text_or_table,
)
from whence.core.identification.address import GRACE_S
from whence.core.registration.backoff import WAITS, Backoff, Waits
from whence.core.settings import further_number_headers
from whence.core.sip.sockets import AUTO, EdgeSockets
from whence.core.sip.transport_address import WEBSOCKETS, Transport, TransportAddress
from whence.trust.settings import NamedFile
from whence.trust.tokens import webhook_token


def check_pair(table: Table, names: tuple[str, str], folder: Path) -> None:
    """Check the certificate and key in two keys of a table, and make both paths absolute.

    Raises: ValueError.
    """
    for name in names:
        object.__setattr__(table, name, readable(name, getattr(table, name), folder))
    certificate, key = (getattr(table, name) for name in names)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, no_password)
    except (ssl.SSLError, ValueError):
        raise ValueError(
            f'{names[0]}: "{certificate}" and {names[1]} "{key}" do not belong together, are not '
            "in PEM, or need a password; write a pair that needs none"
        ) from None


class TlsConfig(Table):
    """`[edge.tls]`: our certificate, and the CAs that we accept.

    A path is absolute, or relative to the settings file.
    """

    certificate: str = Field(default="", examples=["edge.pem"])
    """File in PEM with the certificate that Kamailio shows to phones and providers, and the
    intermediate CA certificates. A path is absolute, or relative to the settings file. Empty: no
    TLS.
    """
    key: str = Field(default="", examples=["edge.key"])
    """File in PEM with the private key of `certificate`. The key has no password."""
    ca: str = DEBIAN_CA_FILE
    """File in PEM with the CAs that must sign the certificates of registrars. The default is
    Debian's package `ca-certificates`.
    """

    @model_validator(mode="after")
    def _readable_pair(self, info: ValidationInfo) -> TlsConfig:
        folder = (info.context or {}).get("folder", Path())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key are needed together; write both")
        if not self.certificate:
            return self  # TLS is not used
        check_pair(self, ("certificate", "key"), folder)
        object.__setattr__(self, "ca", readable("ca", self.ca, folder))
        try:
            context.load_verify_locations(self.ca)
        except ssl.SSLError:
            raise ValueError(
                f'ca: "{self.ca}" has no certificates in PEM; write the file of the CAs that '
                "sign registrars' certificates"
            ) from None
        return self


class EdgeConfig(Table):
    """`[edge]`: Kamailio and its sockets."""

    listen: list[Socket] = Field(
        default=[TransportAddress.parse("udp:127.0.0.1:5060")],
        min_length=1,
        examples=[["udp:192.0.2.1:5060", "tls:192.0.2.1:5061", "udp:[2001:db8::1]:5060"]],
    )
    """Sockets towards providers and phones: `udp:`, `tcp:`, `tls:`, and for phones in browsers
    `ws:` or `wss:`; then `ip:port`, an IPv6 address in brackets. The unspecified address,
    `0.0.0.0`, is refused.
    """
    agent_socket: Socket = TransportAddress.parse("udp:127.0.0.1:5062")
    """Loopback UDP socket on which Kamailio takes requests of the agent. It must not be in
    `listen`.
    """
    advertise: Annotated[
        str | dict[str, str],
        BeforeValidator(text_or_table),
        AfterValidator(check_advertised),
        KeyName("socket"),
    ] = Field(default="", examples=["203.0.113.7", {"udp:192.0.2.1:5060": "auto"}])
    """Address that others see behind NAT, of all sockets or of each: an ip, a name, or `auto`.
    Without `:port` a socket keeps its own. A name is resolved again and again. `auto` is the
    address at which the registrar of a trunk sees us. Empty: the address of the socket.
    """
    domain: Domain = "edge.example"
    """SIP domain of the local users: `name@domain`. It is also the realm of their passwords. The
    addresses in `listen` are local, too.
    """
    workers: int = Field(default=2, ge=1, le=64)
    """Kamailio processes for each socket. One for each core is enough."""
    country: CountryCode = Field(default="", examples=["44"])
    """Calling code of the country in which providers write numbers nationally. Empty: numbers are
    found only with their country code.
    """
    flood: Annotated[int, PER_SECOND] = Field(default=100, ge=0, le=30_000)
    """Limit of refused requests a second from one unknown source. Above it the edge drops the
    source's requests for 5 s. 0: no limit.
    """
    connections: int = Field(default=8192, ge=64, le=100_000)
    """Limit of inbound TCP and TLS connections. Each takes a file and about 5 kB of Kamailio's
    shared memory.
    """
    connections_per_source: int = Field(default=64, ge=0, le=100_000)
    """Limit of TCP and TLS connections from one unknown ip (IPv6: /64). Addresses of trunks and of
    registered phones have none. 0: no limit.
    """
    hep: Annotated[str, AfterValidator(check_hep)] = Field(
        default="", examples=["udp:192.0.2.60:9060"]
    )
    """Address of a capture server (Homer, heplify) that gets a copy of each SIP message, as HEP
    version 3 over UDP. The copies have the digests of passwords, and are not encrypted: send them
    over a network of your own. Empty: none.
    """
    password_failures: int = Field(default=10, ge=0, le=10_000)
    """Wrong passwords from one source in 10 min before the edge drops its REGISTERs: for 1 min,
    doubling to 1 h. 0: no limit.
    """
    tls: TlsConfig = TlsConfig.model_construct()
    """Certificates for `tls:` sockets."""

    @field_validator("agent_socket")
    @classmethod
    def _loopback(cls, agent_socket: TransportAddress) -> TransportAddress:
        if agent_socket.transport is not Transport.UDP or not agent_socket.ip.is_loopback:
            raise ValueError(
                f'"{agent_socket}" is not a loopback UDP socket; write "udp:127.0.0.1:5062"'
            )
        return agent_socket

    @model_validator(mode="after")
    def _consistent(self) -> EdgeConfig:
        if self.agent_socket in self.listen:
            raise ValueError(
                f'agent_socket: "{self.agent_socket}" is in listen, too, but is only for the '
                'agent; write another port, "udp:127.0.0.1:5062"'
            )
        if self.has_tls and not self.tls.certificate:
            raise ValueError(
                'listen: a "tls:" or "wss:" socket needs a certificate; write [edge.tls] with '
                'certificate = "cert.pem" and key = "key.pem"'
            )
        if all(socket.transport in WEBSOCKETS for socket in self.listen):
            raise ValueError(
                'listen: has sockets for browsers only; add one for providers, "udp:192.0.2.1:5060"'
            )
        self._check_advertise()
        if len(set(self.listen)) < len(self.listen):
            raise ValueError("listen: has the same socket twice; write it once")
        streams = [(s.ip, s.port) for s in self.listen if s.transport is not Transport.UDP]
        if len(set(streams)) < len(streams):
            raise ValueError(
                "listen: has two TCP sockets at one ip and port; give each its own port"
            )
        return self

    def _check_advertise(self) -> None:
        if isinstance(self.advertise, dict):
            for text, given in self.advertise.items():
                self._check_advertise_of(TransportAddress.parse(text), given)
            return
        advertised = parse_advertised(self.advertise)
        if advertised and advertised.port and len({socket.port for socket in self.listen}) > 1:
            raise ValueError(
                f'advertise: "{self.advertise}" is one port, but listen has several; write the '
                f'address alone, "{advertised.host}", and each socket keeps its own port'
            )

    def _check_advertise_of(self, socket: TransportAddress, given: str) -> None:
        if socket not in self.listen:
            raise ValueError(
                f'advertise: "{socket}" is not in listen; write one of '
                f"{', '.join(map(str, self.listen))}"
            )
        advertised = parse_advertised(given)
        version = socket.ip.version
        if advertised and advertised.ip_version not in (None, version):
            raise ValueError(
                f'advertise: "{given}" is not of the IP version of "{socket}"; write an address of '
                f"IPv{version}"
            )

    @property
    def sockets(self) -> EdgeSockets:
        """Return the sockets of `listen`, and what each advertises, as a value of the core."""
        if isinstance(self.advertise, str):
            texts = dict.fromkeys(self.listen, self.advertise)
        else:
            texts = {TransportAddress.parse(own): text for own, text in self.advertise.items()}
        read = ((own, parse_advertised(text)) for own, text in texts.items())
        return EdgeSockets(
            tuple(self.listen), tuple((own, one) for own, one in read if one is not None)
        )

    @property
    def own_hosts(self) -> frozenset[str]:
        """Return the hosts that are ours in a URI: `domain`, our ips, and what they advertise."""
        shown = (one.host for _, one in self.sockets.advertised if one.host != AUTO)
        ips = (socket.ip_text for socket in self.listen)
        return frozenset(host.lower() for host in (self.domain, *ips, *shown))

    @property
    def has_tls(self) -> bool:
        """Whether it listens over TLS."""
        return any(socket.transport.is_encrypted for socket in self.listen)

    @property
    def has_websocket(self) -> bool:
        """Whether it listens over WebSocket."""
        return any(socket.transport in WEBSOCKETS for socket in self.listen)

    @property
    def has_streams(self) -> bool:
        """Whether it listens over TCP or TLS."""
        return any(socket.transport is not Transport.UDP for socket in self.listen)


def _is_program(path: str) -> bool:
    return os.access(path, os.X_OK) and not Path(path).is_dir()


class MonitoringConfig(Table):
    """Keys of both agents (with and without drop-in): API, memory, alarms."""

    api_token_required: bool = False
    """`true`: each request needs a token (`whence token create`), also on loopback and over a Unix
    socket.
    """
    api_certificate: str = Field(default="", examples=["api.pem"])
    """File in PEM with the certificate of the API, and the intermediate CA certificates. The agent
    reads it again with each reload. Empty: no TLS.
    """
    api_key: str = Field(default="", examples=["api.key"])
    """File in PEM with the private key of `api_certificate`. The key has no password."""
    api_behind_proxy: bool = False
    """`true`: only a reverse proxy reaches the API. The proxy has the TLS, and adds the address of
    its client at the end of `X-Forwarded-For`. Each request needs a token.
    """
    api_hosts: Annotated[list[str], AfterValidator(check_hosts)] = Field(
        default=[], examples=[["whence.example.net"]]
    )
    """Further names of the API. The API refuses a request with another `Host` than these, its own
    ip and `localhost`.
    """
    api_listen: Annotated[str, AfterValidator(check_api_address)] = "127.0.0.1:8088"
    """Address of the HTTP API: `ip:port`, or a Unix socket, `unix:/run/whence/api.sock`. At any
    other than a loopback address, each request needs a token, and the API needs TLS:
    `api_certificate`, or `api_behind_proxy`.
    """
    call_history_size: int = Field(default=10_000, ge=0, le=1_000_000)
    """Decisions that the agent keeps in memory of requests from trunks' addresses, and as many
    again of requests from unknown sources. 0: none.
    """
    call_log_file: str = Field(default="", examples=["/var/log/whence/calls.json"])
    """File to which the agent appends each call of a trunk or user as a line of JSON, when it is
    over. At 64 MB it is renamed to `….1`, which replaces the former one. A path is absolute, or
    relative to the settings file. Empty: none.
    """
    unknown_sources_size: int = Field(default=1_000, ge=0, le=100_000)
    """Unknown sources that the agent keeps in memory. Sources that sent one request are dropped
    before those that sent more. 0: none.
    """
    unknown_requests_per_minute_alarm: int = Field(default=600, ge=0, le=1_000_000_000)
    """Requests of unknown sources in a minute, above which the agent raises the alarm
    `many_unknown_requests`. 0: never.
    """
    unreachable_alarm_after: Annotated[int, SECONDS] = Field(default=300, ge=0, le=86_400)
    """Time for which a trunk's registrar may be unreachable before the agent raises the alarm
    `registrar_unreachable`.
    """
    webhook: Annotated[str, AfterValidator(check_webhook_url)] = Field(
        default="", examples=["https://alarms.example/whence"]
    )
    """URL to which the agent posts each alarm as JSON. `http://` is allowed to loopback only.
    Empty: none.
    """
    webhook_format: Literal["whence", "alertmanager"] = "whence"
    """Form of the JSON: that of Whence's alarms, or that in which Alertmanager posts alerts to its
    webhook receivers.
    """
    webhook_token_file: str = ""
    """File with one word, which the agent sends to the webhook as a bearer token. A path is
    absolute, or relative to the settings file.
    """

    log_format: Literal["text", "json"] = "text"
    """Form of the log lines of agent, Kamailio and `whence run`: `text`, or an object of JSON for
    each line. In the journal of systemd, each line has its priority in both forms.
    """
    mail_to: list[Annotated[str, AfterValidator(check_mail_address)]] = Field(
        default=[], max_length=20, examples=[["noc@operator.example"]]
    )
    """Addresses to which the agent sends each alarm by e-mail, one mail a minute at most. Empty:
    none.
    """
    mail_from: Annotated[str, AfterValidator(check_mail_address)] = Field(
        default="", examples=["whence@operator.example"]
    )
    """Sender of these mails. Empty: the user that runs the agent."""
    sendmail: str = "/usr/sbin/sendmail"
    """Program that sends the mails: that of Postfix, Exim, msmtp or another. An absolute path."""

    @model_validator(mode="after")
    def _runnable(self) -> Self:
        if self.mail_to and not (Path(self.sendmail).is_absolute() and _is_program(self.sendmail)):
            raise ValueError(
                f'sendmail: "{self.sendmail}" is not a program; install one that sends mail '
                "(apt-get install msmtp-mta), or write the absolute path of another"
            )
        return self

    @model_validator(mode="after")
    def _named_paths(self, info: ValidationInfo) -> Self:
        folder = (info.context or {}).get("folder", Path())
        self._check_api(folder)
        if self.call_log_file:
            object.__setattr__(self, "call_log_file", writable(self.call_log_file, folder))
        if self.webhook_token_file:
            path = (folder / self.webhook_token_file).absolute()
            webhook_token(path)
            object.__setattr__(self, "webhook_token_file", str(path))
        return self

    @field_validator("api_listen")
    @classmethod
    def _has_tls(cls, text: str, info: ValidationInfo) -> str:
        safe = info.data.get("api_certificate", True) or info.data.get("api_behind_proxy", True)
        if not is_local_api(text) and not safe:
            raise ValueError(
                f'"{text}" can be reached from outside, so the API needs TLS; write '
                "api_certificate and api_key, or api_behind_proxy = true if only a proxy reaches "
                'it, or a loopback address, "127.0.0.1:8088"'
            )
        return text

    def _check_api(self, folder: Path) -> None:
        if bool(self.api_certificate) != bool(self.api_key):
            raise ValueError("api_certificate and api_key are needed together; write both")
        if self.api_certificate:
            check_pair(self, ("api_certificate", "api_key"), folder)

    def named_files(self) -> Iterator[NamedFile]:
        """Yield the files that this table names."""
        if self.api_certificate:
            yield NamedFile("agent: api_certificate", Path(self.api_certificate))
            yield NamedFile("agent: api_key", Path(self.api_key), secret=True)
        if self.call_log_file:
            yield NamedFile("agent: call_log_file", Path(self.call_log_file), written=True)
        if self.webhook_token_file:
            yield NamedFile("agent: webhook_token_file", Path(self.webhook_token_file), secret=True)
        if self.mail_to:
            yield NamedFile("agent: sendmail", Path(self.sendmail))

    @property
    def api_socket(self) -> Path | None:
        """The path of the API's Unix socket; None: it listens at `api_place`."""
        is_path = self.api_listen.startswith(UNIX)
        return Path(self.api_listen.removeprefix(UNIX)) if is_path else None

    @property
    def api_place(self) -> tuple[str, int]:
        """(ip, port) of the API, where it has no Unix socket."""
        return parse_ip_and_port(self.api_listen)

    @property
    def api_url(self) -> str:
        """The URL of the API for people, and for the commands of `whence`."""
        if self.api_socket is not None:
            return self.api_listen
        return f"{'https' if self.api_certificate else 'http'}://{self.api_listen}"

    @property
    def api_names(self) -> list[str]:
        """The Hosts that the API accepts, besides those of loopback."""
        if self.api_socket is not None:
            return self.api_hosts
        ip, _ = self.api_place
        return [f"[{ip}]" if ":" in ip else ip, *self.api_hosts]

    @property
    def api_needs_token(self) -> bool:
        """Whether each request needs a token."""
        is_reachable = self.api_behind_proxy or not is_local_api(self.api_listen)
        return self.api_token_required or is_reachable


class AgentConfig(MonitoringConfig):
    """`[agent]`: the process beside Kamailio."""

    state_dir: Annotated[str, AfterValidator(state_path)] = "/var/lib/whence"
    """State directory: `directory.db`, `location.db`, generated files. Whence creates it with mode
    0700. The path is absolute and has 92 characters at most.
    """
    on_stop: Literal["unregister", "leave"] = "unregister"
    """What a clean stop does with registrations: `unregister` ends each one, `leave` keeps them for
    the next start.
    """
    grace: Annotated[int, SECONDS] = Field(default=int(GRACE_S), ge=0, le=3600)
    """Time for which a learned address stays valid after its registration ended, for calls that are
    on their way.
    """
    nameserver: Annotated[str, AfterValidator(check_nameserver)] = Field(
        default="", examples=["192.0.2.53:53"]
    )
    """DNS server, `ip:port`, that the agent asks for registrars. Empty: those of
    `/etc/resolv.conf`. `/etc/hosts` is not read.
    """
    sibling_ttl: Annotated[Wait, SECONDS] = [300, 3600]
    """Shortest and longest time for which an address from DNS (`follow_dns`) is valid. Between
    them, its TTL counts.
    """

    @property
    def nameserver_place(self) -> tuple[str, int] | None:
        """(ip, port) of the name server; None for those of the system."""
        return parse_ip_and_port(self.nameserver) if self.nameserver else None


class BackoffConfig(Table):
    """`[registration.backoff]`: waits of the agent after a failure."""

    auth_failed: Annotated[Wait, SECONDS] = [600, 86_400]
    """Wait after a rejected password: first and longest, doubling. Providers block clients that
    repeat a wrong password.
    """
    rejected: Annotated[Wait, SECONDS] = [300, 3_600]
    """Wait after the registrar rejected the account: for example unknown or blocked."""
    unreachable: Annotated[Wait, SECONDS] = [30, 1_800]
    """Wait after no answer or a 5xx. Each wait is a random 50 to 100 % of it, so that the
    trunks do not all return at once after an outage.
    """


class RegistrationConfig(Table):
    """`[registration]`: waits and rates. `Waits` in the core has the reason of each default."""

    retry_after_limit: Annotated[float, SECONDS] = Field(default=86_400, gt=0, le=7 * DAY_S)
    """Longest `Retry-After` that the agent obeys. Up to it, `Retry-After` replaces the waits of
    `[registration.backoff]`.
    """
    refresh_fraction: Share = [0.7, 0.8]
    """A refresh starts at a random point between these shares of the granted time."""
    response_timeout: Annotated[float, SECONDS] = Field(default=32, ge=0.5, le=120)
    """Time that a server has to answer before the agent tries the next one (RFC 3261: 64*T1). It
    takes effect at the next start.
    """
    rate: Annotated[float, PER_SECOND] = Field(default=1000, gt=0, le=100_000)
    """Limit of attempts a second to all registrars together."""
    rate_per_registrar: Annotated[float, PER_SECOND] = Field(default=50, gt=0, le=100_000)
    """Limit of attempts a second to one registrar, so that a cold start floods no provider."""
    backoff: BackoffConfig = BackoffConfig()
    """Waits after failures."""

    def waits(self) -> Waits:
        """Return the waits as a value of the core."""

        def backoff(pair: list[float], jitter: float) -> Backoff:
            return Backoff(pair[0], pair[1], jitter)

        own = self.backoff
        return Waits(
            auth_failed=backoff(own.auth_failed, WAITS.auth_failed.jitter),
            rejected=backoff(own.rejected, WAITS.rejected.jitter),
            unreachable=backoff(own.unreachable, WAITS.unreachable.jitter),
            retry_after_limit_s=self.retry_after_limit,
            refresh_from=self.refresh_fraction[0],
            refresh_to=self.refresh_fraction[1],
        )


class Config(Table):
    """The whole settings file."""

    edge: EdgeConfig = EdgeConfig()
    """Kamailio and its sockets."""
    phones: PhonesConfig = PhonesConfig()
    """Phones of local users: keep-alives, contacts, browsers."""
    media: MediaConfig = MediaConfig()
    """Media of calls: rtpengine."""
    agent: AgentConfig = AgentConfig()
    """The agent: state, API, memory, alarms."""
    registration: RegistrationConfig = RegistrationConfig()
    """Waits and rates of registrations."""
    trunk: list[TrunkConfig] = []
    """One `[[trunk]]` for each account at a provider."""
    user: list[UserConfig] = []
    """One `[[user]]` for each local user."""
    outbound: OutboundConfig = OutboundConfig()
    """Users' calls to numbers."""
    route: list[RouteConfig] = []
    """One `[[route]]` for each rule for numbers."""

    @property
    def state(self) -> Path:
        """The path of the state directory."""
        return Path(self.agent.state_dir)

    @property
    def calls_out(self) -> bool:
        """Whether Kamailio takes users' calls to numbers."""
        return (
            self.outbound.enabled
            or bool(self.outbound.emergency_numbers)
            or any(user.trunks for user in self.user)
        )

    def named_files(self, file: Path) -> Iterator[NamedFile]:
        """Yield the files that decide what Whence does: `file`, and the files that it names.

        `file`: the file from which these settings were read.
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
        """Return a sentence for each pinned network that has expired."""
        return [
            f'trunk "{trunk.id}": networks[{i}]: "{pin.network}" has expired; remove it'
            for trunk in self.trunk
            for i, pin in enumerate(trunk.networks)
            if pin.expires_at is not None and pin.expires_at <= now
        ]

    def country_code_of(self, trunk: TrunkConfig) -> str:
        """Return the calling code of the country of a trunk's provider. Empty: not configured."""
        return trunk.country or self.edge.country

    @property
    def number_headers(self) -> list[str]:
        """The headers that the trunks name, without those that the edge always reads."""
        return further_number_headers(trunk.number_headers for trunk in self.trunk)
