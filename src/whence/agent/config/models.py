"""The file `whence.toml`: what may stand in it, and every fault of it, told at once.

A wrong file is refused whole. Each fault says where it is, what is there, and what would be right.
`packaging/whence.toml` shows every key with its meaning.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import httpx
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
from whence.agent.config import phone_numbers as spellings
from whence.agent.config.toml import Table, checked, toml
from whence.agent.config.trusted_paths import Named
from whence.agent.registration import tls_probe
from whence.core.identification.address import (
    GRACE_S,
    Address,
    Origin,
    Source,
    Transport,
    canonical_network,
)
from whence.core.identification.trunk import NUMBER_HEADERS
from whence.core.registration.backoff import WAITS, Backoff, Waits
from whence.core.sip.digest import Credentials, ha1
from whence.core.sip.phone_number import account_spellings
from whence.core.sip.secret import Secret
from whence.core.sip.uri import Uri
from whence.errors import ConfigError
from whence.ipc import decisions, headers

DAY_S = 86_400

DEBIANS_CAS = "/etc/ssl/certs/ca-certificates.crt"
"""The CAs that browsers believe; Debian package ca-certificates."""

SOCKET_PATH_LIMIT = 107
"""How long the path of a Unix socket may be (Linux)."""

HEADERS_LIMIT = 8
"""In how many headers one trunk's number may be looked for."""

ALL_HEADERS_LIMIT = 16
"""How many different ones all trunks together may name: the edge looks for each in each call."""

_TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]{1,64}")  # RFC 3261 25.1

_STRUCTURE_NAMES = (
    "accept accept-encoding accept-language allow allow-events authentication-info authorization"
    " call-id contact content-disposition content-encoding content-language content-length"
    " content-type cseq date event expires from max-forwards mime-version min-expires min-se path"
    " proxy-authenticate proxy-authorization proxy-require rack record-route require route rseq"
    " security-client security-server security-verify service-route session-expires supported"
    " timestamp unsupported user-agent server via warning www-authenticate"
    " request-uri a b c d e f i k l m o r s t u v x y"
)
_STRUCTURE = frozenset(_STRUCTURE_NAMES.split())
"""Headers that say how a message travels or who sends it, and compact forms: not who is called."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_OPTIONAL_DOMAIN = re.compile(f"({_DOMAIN.pattern})?")
_AOR_USER = re.compile(r"[A-Za-z0-9_.!~*'()&=+$,-]{1,128}")
_STATE = re.compile(r"/[A-Za-z0-9_./+-]{1,200}")
_HA1_LENGTH = {"md5": 32, "sha256": 64}
_ALGORITHM = {"md5": "MD5", "sha256": "SHA-256"}


def _socket(text: Any) -> Source:
    try:
        socket = Source.parse(text if isinstance(text, str) else "")
    except ValueError:
        raise ValueError(
            f'"{text}" is not a socket; write transport:ip:port, "udp:192.0.2.1:5060"'
        ) from None
    if socket.ip.is_unspecified:
        raise ValueError(
            f'"{text}" is every address of the machine; name the one that providers reach, '
            '"udp:192.0.2.1:5060"'
        )
    return socket


def _place(text: str, example: str = "192.0.2.1:5060") -> tuple[str, int]:
    try:
        place = Source.parse(f"udp:{text}")
    except ValueError:
        raise ValueError(f'"{text}" is not ip:port; write "{example}"') from None
    return str(place.ip), place.port


def _advertise(text: str) -> str:
    if text:
        try:
            ip_address(text)
        except ValueError:
            _place(text)
    return text


def _nameserver(text: str) -> str:
    if text:
        _place(text, "192.0.2.53:53")
    return text


def _api(text: str) -> str:
    host, _ = _place(text)
    if not ip_address(host).is_loopback:
        raise ValueError(
            f'"{text}" can be reached from outside, and the API asks nobody who they are; '
            'write a loopback address, "127.0.0.1:8088"'
        )
    return text


def _keepalive(seconds: float) -> float:
    if seconds and not 1 <= seconds <= 3600:
        raise ValueError(f"{seconds:g} is no interval; write 1 to 3600 seconds, or 0 for none")
    return seconds


def _webhook(text: str) -> str:
    # What is wrong is not repeated: the path of a webhook is often a secret.
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
        httpx.URL(text)
    except (ValueError, httpx.InvalidURL):
        url, host = urlsplit(""), ""
    if text and (url.scheme not in ("http", "https") or not host or _unfit_in_url(text)):
        raise ValueError('is no URL; write "https://host/path"')
    if "@" in url.netloc or url.fragment:
        raise ValueError(
            "has a user, password or fragment in it; write the URL without, and the path of a "
            "file with a token as webhook_token_file"
        )
    if url.scheme == "http" and not _is_loopback(host):
        raise ValueError(
            "goes over plain http to another machine, where all can read it; write https://"
        )
    return text


def _unfit_in_url(text: str) -> bool:
    return not text.isascii() or not text.isprintable() or re.search(r'[\s\\<>"]', text) is not None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def webhook_token(path: Path) -> str:
    """Read a bearer token: one word of ASCII. ValueError says so, and never what is in the file."""
    try:
        text = path.read_text("ascii").strip()
    except (OSError, ValueError):
        text = ""
    if not text or not text.isprintable() or " " in text:
        raise ValueError(
            f'webhook_token_file: "{path}" cannot be read or holds no single word; write the '
            "token into it, and let only the agent's user read it"
        )
    return text


def _matching(pattern: re.Pattern[str], what: str, example: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f'"{text}" is not {what}; write "{example}"')
        return text

    return AfterValidator(check)


def _server(text: str) -> str:
    uri = Uri.parse(text)
    host = uri.host if uri else ""
    literal = ":" in host and re.fullmatch(r"[0-9a-f:.]+", host)
    if (
        uri is None
        or uri.scheme != "sip"
        or uri.user
        or set(uri.params) - {"transport"}
        or not (literal or _DOMAIN.fullmatch(host))
    ):
        raise ValueError(
            f'"{text}" is not a server; write "sip:host", "sip:host:port" or '
            '"sip:host:port;transport=tcp"'
        )
    transport = uri.params.get("transport", "udp")
    if transport not in ("udp", "tcp", "tls"):
        raise ValueError(f'"{text}": transport {transport} is not known; write udp, tcp or tls')
    return sys.intern(text)  # thousands of trunks have the same


def _optional_server(text: str) -> str:
    return _server(text) if text else text


def _shared(text: str) -> str:
    return sys.intern(text)


def _target(text: str) -> str:
    uri = Uri.parse(text.replace("{number}", "0"))
    plain = text.replace("{number}", "0")
    writable = plain.isascii() and plain.isprintable() and not re.search(r'[\s<>"{}]', plain)
    if uri is None or uri.scheme == "tel" or not writable:
        raise ValueError(
            f'"{text}" is not a target; write "sip:alice@edge.example" or '
            '"sip:{number}@192.0.2.9:5060"'
        )
    return sys.intern(text)


def _number(text: str) -> str:
    spellings.check(text)
    return text


def _country(text: str) -> str:
    return spellings.country_code(text) if text else text


def _header(name: str) -> str:
    small = name.lower()
    if not _TOKEN.fullmatch(name):
        raise ValueError(
            f'"{name}" is not the name of a header; write "P-Called-Party-ID", "To" or "X-Called"'
        )
    if small in _STRUCTURE or small.startswith(headers.PREFIX):
        raise ValueError(
            f'"{name}" names no called number; write "P-Called-Party-ID", "To", "Diversion", '
            '"History-Info" or a header of the provider\'s own. The Request-URI always comes first'
        )
    return sys.intern(small)


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError(f'is no list; write ["{value}"]')  # noqa: TRY004 - pydantic's
    return tuple(value) if isinstance(value, list) else value


def _headers(names: tuple[str, ...]) -> tuple[str, ...]:
    for name, times in Counter(names).items():
        if times > 1:
            raise ValueError(f'"{name}" is there {times} times; write it once')
    if len(names) > HEADERS_LIMIT:
        raise ValueError(f"names more than {HEADERS_LIMIT} headers; write those that matter")
    return _same(names)


@lru_cache(maxsize=1024)
def _same(names: tuple[str, ...]) -> tuple[str, ...]:
    return names  # thousands of trunks have the same


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has control characters; write it without them")
    return text


def state_path(text: str) -> str:
    """Check the path of a state directory; a ValueError tells the right form."""
    # It stands in kamailio.cfg, inside quotes and in a database's URL.
    if not _STATE.fullmatch(text):
        raise ValueError(
            f'"{text}" is not an absolute path of letters, digits and / _ . + -; '
            'write "/var/lib/whence"'
        )
    longest = SOCKET_PATH_LIMIT - len(f"/{decisions.SOCKET_FILE}")
    if len(text) > longest:
        raise ValueError(
            f'"{text}" is too long for the socket in it; write a path of {longest} characters '
            "at most"
        )
    return text


def _secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text or not text.isprintable():
        raise ValueError("is empty or has control characters; write the password in quotes")
    return value


Name = Annotated[str, _matching(_NAME, "a name (letters, digits, _ . + -)", "acme")]
Domain = Annotated[str, _matching(_DOMAIN, "a domain", "edge.example")]
OptionalDomain = Annotated[
    str, _matching(_OPTIONAL_DOMAIN, "a domain", "provider.example"), AfterValidator(_shared)
]
AorUser = Annotated[str, _matching(_AOR_USER, "the user of an address-of-record", "acct1")]
Number = Annotated[str, AfterValidator(_number)]
Country = Annotated[str, AfterValidator(_country)]
NumberHeaders = Annotated[
    tuple[Annotated[str, AfterValidator(_header)], ...],
    BeforeValidator(_listed),
    AfterValidator(_headers),
]
Socket = Annotated[Source, BeforeValidator(_socket)]
Password = Annotated[SecretStr, AfterValidator(_secret)]


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


class Tls(Table):
    """`[edge.tls]`: our certificate, and whose we believe. Paths: absolute, or beside the file."""

    certificate: str = ""
    key: str = ""
    ca: str = DEBIANS_CAS

    @model_validator(mode="after")
    def _there(self, info: ValidationInfo) -> Tls:
        folder = (info.context or {}).get("folder", Path())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key go together; write both")
        if not self.certificate:
            return self  # nothing goes over TLS then
        for name in ("certificate", "key", "ca"):
            object.__setattr__(self, name, _readable(name, getattr(self, name), folder))
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
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

    def peer(self) -> tls_probe.Tls:
        """Who explains what is wrong with a registrar's certificate."""
        return tls_probe.Tls(self.certificate, self.key, self.ca)


def _readable(name: str, given: str, folder: Path) -> str:
    path = str((folder / given).absolute())
    if not _STATE.fullmatch(path):  # it stands in Kamailio's tls.cfg, without quotes
        raise ValueError(f'{name}: "{path}" is no path of letters, digits and / _ . + -; rename it')
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise ValueError(
            f'{name}: "{path}" cannot be read: {error.strerror}; write the path of a file in PEM '
            "that the user of Whence can read"
        ) from None
    return path


def _writable(given: str, folder: Path) -> str:
    path = (folder / given).absolute()
    if not given.isprintable() or path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise ValueError(
            f'calls_file: "{given}" cannot be written; write the path of a file in a folder that '
            "the user of Whence can write"
        )
    return str(path)


def _no_password() -> str:
    raise ValueError("no password")


class Edge(Table):
    """`[edge]`: Kamailio and its sockets."""

    listen: list[Socket] = Field(default=[Source.parse("udp:127.0.0.1:5060")], min_length=1)
    inside: Socket = Source.parse("udp:127.0.0.1:5062")
    advertise: Annotated[str, AfterValidator(_advertise)] = ""
    domain: Domain = "edge.example"
    workers: int = Field(default=2, ge=1, le=64)
    country: Country = ""
    flood: int = Field(default=100, ge=0, le=30_000)
    connections: int = Field(default=8192, ge=64, le=100_000)
    connections_per_source: int = Field(default=64, ge=0, le=100_000)
    password_failures: int = Field(default=10, ge=0, le=10_000)
    tls: Tls = Tls.model_construct()

    @field_validator("inside")
    @classmethod
    def _loopback(cls, inside: Source) -> Source:
        if inside.transport is not Transport.UDP or not inside.ip.is_loopback:
            raise ValueError(f'"{inside}" is not a loopback UDP socket; write "udp:127.0.0.1:5062"')
        return inside

    @model_validator(mode="after")
    def _apart(self) -> Edge:
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
            return _place(self.advertise) if self.advertise else ("", None)

    def place_of(self, socket: Source) -> tuple[str, int]:
        """(ip, port) by which our `socket` is seen; what is advertised is of one IP version."""
        ip, port = self._advertised
        if not ip or ip_address(ip).version != socket.ip.version:
            return str(socket.ip), socket.port
        return ip, port or socket.port

    @property
    def has_tls(self) -> bool:
        """Whether anything goes over TLS."""
        return any(socket.transport is Transport.TLS for socket in self.listen)

    @property
    def has_streams(self) -> bool:
        """Whether it listens over TCP or TLS."""
        return any(socket.transport is not Transport.UDP for socket in self.listen)

    def socket_for(self, transport: str, ip_version: int) -> Source | None:
        """Our socket for requests over `transport` to an address of IPv4 or IPv6."""
        fitting = (s for s in self.listen if s.transport == transport)
        return next((s for s in fitting if s.ip.version == ip_version), None)


def _growing(pair: list[float]) -> list[float]:
    if not 0 < pair[0] <= pair[1]:
        raise ValueError(f"{pair} does not grow; write [first, limit], both in seconds")
    return pair


def _share(pair: list[float]) -> list[float]:
    if not 0 < pair[0] <= pair[1] < 1:
        raise ValueError(f"{pair} are no shares of what was granted; write [0.7, 0.8]")
    return pair


_Wait = Annotated[
    list[float], Field(min_length=2, max_length=2, strict=False), AfterValidator(_growing)
]
_Share = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_share)]


class Watch(Table):
    """What every agent remembers, tells and serves."""

    api: Annotated[str, AfterValidator(_api)] = "127.0.0.1:8088"
    calls: int = Field(default=10_000, ge=0, le=1_000_000)
    calls_file: str = ""
    strangers: int = Field(default=1_000, ge=0, le=100_000)
    strangers_alarm: int = Field(default=600, ge=0, le=1_000_000_000)
    webhook: Annotated[str, AfterValidator(_webhook)] = ""
    webhook_token_file: str = ""

    @model_validator(mode="after")
    def _beside(self, info: ValidationInfo) -> Self:
        folder = (info.context or {}).get("folder", Path())
        if self.calls_file:
            object.__setattr__(self, "calls_file", _writable(self.calls_file, folder))
        if self.webhook_token_file:
            path = (folder / self.webhook_token_file).absolute()
            webhook_token(path)
            object.__setattr__(self, "webhook_token_file", str(path))
        return self

    def named_files(self) -> Iterator[Named]:
        """Give the files that are named here."""
        if self.calls_file:
            yield Named("agent: calls_file", Path(self.calls_file), written=True)
        if self.webhook_token_file:
            yield Named("agent: webhook_token_file", Path(self.webhook_token_file), secret=True)

    @property
    def api_place(self) -> tuple[str, int]:
        """(ip, port) of the API."""
        return _place(self.api)


class Agent(Watch):
    """`[agent]`: the daemon beside Kamailio."""

    state: Annotated[str, AfterValidator(state_path)] = "/var/lib/whence"
    on_stop: Literal["unregister", "leave"] = "unregister"
    grace: int = Field(default=int(GRACE_S), ge=0, le=3600)
    nameserver: Annotated[str, AfterValidator(_nameserver)] = ""
    sibling_ttl: _Wait = [300, 3600]

    @property
    def nameserver_place(self) -> tuple[str, int] | None:
        """(ip, port) of the name server; None for those of the system."""
        return _place(self.nameserver) if self.nameserver else None


class RegistrationSettings(Table):
    """`[registration]`: how patient and how fast; `Waits` has the reason of each default."""

    wrong_credentials: _Wait = [600, 86_400]
    refused: _Wait = [300, 3_600]
    unreachable: _Wait = [30, 1_800]
    retry_after_limit: float = Field(default=86_400, gt=0, le=7 * DAY_S)
    refresh: _Share = [0.7, 0.8]
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


_ANY: frozenset[str] = frozenset()


class Pin(Table):
    """One of a trunk's `networks`: from where its calls may come, whoever registered where."""

    network: Annotated[str, BeforeValidator(pins.network)]
    port: int | None = Field(default=None, ge=1, le=65535)
    transport: Literal["udp", "tcp", "tls"] | None = None
    expires_at: Annotated[float | None, BeforeValidator(pins.instant)] = None
    note: Annotated[str, Field(max_length=200), AfterValidator(_printable)] = ""

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
            in_file=True,
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


class Trunk(Table):
    """`[[trunk]]`: one account at a provider."""

    id: Name
    registrar: Annotated[str, AfterValidator(_server)]
    proxy: Annotated[str, AfterValidator(_optional_server)] = ""
    user: AorUser
    domain: OptionalDomain = ""
    auth_user: Annotated[str, AfterValidator(_printable)] = ""
    password: Password | None = None
    password_file: str = ""
    ha1: Ha1 | None = None
    realm: Annotated[str, AfterValidator(_printable)] = ""
    expires: int = Field(default=3600, ge=1, le=7 * DAY_S)
    contact: Literal["token", "line"] = "token"
    rewrites_contact: bool = False
    keepalive: Annotated[float, AfterValidator(_keepalive)] = 0
    target: Annotated[str, AfterValidator(_target)]
    numbers: list[Number] = []
    country: Country = ""
    number_headers: NumberHeaders = NUMBER_HEADERS
    number_format: Literal["as_sent", "e164", "national", "plain"] = "as_sent"
    unmatched: Literal["accept", "refuse"] = "accept"
    fallback: bool = False
    follow_dns: bool = True
    learn_from: Literal["asked", "any"] = "asked"
    port: Literal["any", "exact"] = "any"
    networks: list[Annotated[Pin, BeforeValidator(as_pin)]] = []
    enabled: bool = True

    @field_validator("networks")
    @classmethod
    def _pinned_once(cls, networks: list[Pin]) -> list[Pin]:
        for place, times in Counter(pin.place for pin in networks).items():
            if times > 1:
                raise ValueError(f'"{place[0]}" is there {times} times; write it once')
        return networks

    @model_validator(mode="after")
    def _one_secret(self, info: ValidationInfo) -> Trunk:
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
            password = _read_secret(self.password_file, info)
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


class User(Table):
    """`[[user]]`: a local user, whose phone registers here."""

    name: Name
    password: Password | None = None
    ha1: Ha1 | None = None

    @model_validator(mode="after")
    def _one_secret(self) -> User:
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


class Settings(Table):
    """The whole file."""

    edge: Edge = Edge()
    agent: Agent = Agent()
    registration: RegistrationSettings = RegistrationSettings()
    trunk: list[Trunk] = []
    user: list[User] = []

    @property
    def state(self) -> Path:
        """The state directory."""
        return Path(self.agent.state)

    def named_files(self, file: Path) -> Iterator[Named]:
        """Give the files whose content counts: `file`, from which these were read, and those that
        are named in it.
        """
        has_secret = bool(self.user) or any(not trunk.password_file for trunk in self.trunk)
        yield Named("", file, secret=has_secret)
        folder = file.absolute().parent
        for named in sorted({trunk.password_file for trunk in self.trunk} - {""}):
            yield Named("password_file", folder / named, secret=True)
        if self.edge.tls.certificate:
            yield Named("edge: tls: certificate", Path(self.edge.tls.certificate))
            yield Named("edge: tls: key", Path(self.edge.tls.key), secret=True)
            yield Named("edge: tls: ca", Path(self.edge.tls.ca))
        yield from self.agent.named_files()

    def expired_pins(self, now: float) -> list[str]:
        """One sentence for each pinned network that admits nobody any more."""
        return [
            f'trunk "{trunk.id}": networks[{i}]: "{pin.network}" has expired; take it out'
            for trunk in self.trunk
            for i, pin in enumerate(trunk.networks)
            if pin.expires_at is not None and pin.expires_at <= now
        ]

    def country_of(self, trunk: Trunk) -> str:
        """The calling code of the country in which a trunk's provider is; empty: not said."""
        return trunk.country or self.edge.country

    def spellings(self, trunk: Trunk) -> dict[str, str]:
        """All forms in which the provider of `trunk` may write its numbers → each in E.164."""
        country = self.country_of(trunk)
        found: dict[str, str] = {}
        for number in trunk.numbers:
            forms = spellings.spellings(number, country)
            found |= dict.fromkeys(forms, spellings.e164(number, country))
        return found

    def account_spellings(self, trunk: Trunk) -> dict[str, str]:
        """All forms in which the account of `trunk` may be called → each in E.164; empty: none."""
        forms = dict.fromkeys(account_spellings(trunk.user), "")
        try:
            country = self.country_of(trunk)
            e164 = spellings.e164(trunk.user, country)
            return dict.fromkeys([*forms, *spellings.spellings(trunk.user, country)], e164)
        except ValueError:  # it is no number
            return forms

    def number_style(self, trunk: Trunk) -> str:
        """How `{number}` is written for the target of `trunk`, for the directory."""
        if trunk.number_format == "as_sent":
            return ""
        return str(spellings.style(trunk.number_format, self.country_of(trunk)))

    @property
    def number_headers(self) -> list[str]:
        """All headers that some trunk names, but for those that are always read."""
        named = {header for trunk in self.trunk for header in trunk.number_headers}
        return sorted(named - set(NUMBER_HEADERS))


def load(path: Path) -> Settings:
    """Read and check a file; ConfigError names all its faults."""
    data = toml(path)
    settings, faults = checked(Settings, data, path)
    faults += [f"{path.name}: {fault}" for fault in _doubles(data)]
    if settings is not None:
        faults += [f"{path.name}: {fault}" for fault in _at_odds(settings)]
    if settings is None or faults:
        raise ConfigError(faults)
    return settings


def _read_secret(file: str, info: ValidationInfo) -> SecretStr:
    folder = (info.context or {}).get("folder", Path())
    try:
        text = (folder / file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    if not text or not text.isprintable():
        raise ValueError(
            f'password_file: "{file}" cannot be read or holds no single line; '
            "write the password into it, and let only the agent's user read it"
        )
    return SecretStr(text)


def _doubles(data: dict[str, Any]) -> list[str]:
    faults = []
    for table, key in (("trunk", "id"), ("user", "name")):
        entries = data.get(table)
        listed = entries if isinstance(entries, list) else []
        names = [entry.get(key) for entry in listed if isinstance(entry, dict)]
        counted = Counter(name for name in names if isinstance(name, str))
        faults += [
            f'{table} "{name}": is there {times} times; give each its {key}'
            for name, times in sorted(counted.items())
            if times > 1
        ]
    return faults


def _at_odds(settings: Settings) -> list[str]:
    """Say what one table denies of another: a target's user, a socket that reaches a server."""
    users = {user.name for user in settings.user}
    faults = []
    if len(settings.number_headers) > ALL_HEADERS_LIMIT:
        faults.append(
            f"trunk: number_headers: the trunks name {len(settings.number_headers)} different "
            f"headers; write {ALL_HEADERS_LIMIT} at most"
        )
    for trunk in settings.trunk:
        target = Uri.parse(trunk.target.replace("{number}", "0"))
        at_home = target is not None and target.host == settings.edge.domain.lower()
        if target and at_home and "{number}" not in trunk.target and target.user not in users:
            faults.append(
                f'trunk "{trunk.id}": target: there is no user "{target.user}"; '
                f'add [[user]] with name = "{target.user}"'
            )
        if trunk.number_format == "national" and not settings.country_of(trunk):
            faults.append(
                f'trunk "{trunk.id}": number_format: "national" is of a country; write its '
                'country = "44", or that of [edge]'
            )
        if missing := _no_socket(settings.edge, trunk.server):
            place = "proxy" if trunk.proxy else "registrar"
            faults.append(f'trunk "{trunk.id}": {place}: {missing} to edge listen')
    return faults


def _no_socket(edge: Edge, server: Uri) -> str:
    """Which socket the edge lacks to reach a server; empty where none, or only DNS can tell."""
    transport = server.params.get("transport")
    try:
        version = ip_address(server.host).version
    except ValueError:  # a name: of which version its addresses are, nobody knows yet
        version = None
    if version is not None:
        transport = transport or "udp"  # RFC 3263 4.1
    if not transport or (version and edge.socket_for(transport, version)):
        return ""
    socket = f'"{transport}:{"[ip]" if version == 6 else "ip"}:port"'
    if not any(own.transport == transport for own in edge.listen):
        return f"is reached over {transport}, on which the edge does not listen; add {socket}"
    if version is None:
        return ""
    return (
        f"is reached over {transport} at an address of IPv{version}, for which the edge has no "
        f"socket; add {socket}"
    )
