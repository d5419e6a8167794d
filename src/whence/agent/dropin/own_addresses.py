"""The sockets and names of an existing Kamailio: what its condition `uri==myself` accepts.

Each rule here was tried on Kamailio 5.6.3. A `listen` on 0.0.0.0 makes no ip its own. Kamailio
reads neither transport nor port in a quoted `alias`. `advertised_address` is no own name.
"""

from __future__ import annotations

import fcntl
import ipaddress
import re
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from whence.agent.dropin.kamailio_cfg.model import Cfg
from whence.agent.dropin.running import all_options

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}
OFF = frozenset({"off", "no", "false", "disable", "0"})

_PLACE = re.compile(
    r"(?:(?P<transport>udp|tcp|tls|sctp|ws|wss):)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\s\[\]]+)(?::(?P<port>[0-9]{1,5}|\*))?"
)
_SIOCGIFADDR = 0x8915


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host, in lower case and without brackets, and a port; None: any, or the default."""

    host: str
    port: int | None = None
    transport: str = ""
    """Empty: any."""

    @classmethod
    def parse(cls, text: str) -> HostPort | None:
        """Read `[transport:]host[:port]`; None if it has another form."""
        found = _PLACE.fullmatch(text.strip())
        if found is None:
            return None
        port = None if found["port"] in (None, "*") else int(found["port"])
        return cls(_host(found["host"]), port, found["transport"] or "")

    @property
    def is_ip(self) -> bool:
        """Whether the host is an ip."""
        return _is_ip(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class OwnAddresses:
    """Where a Kamailio listens, and which names it has."""

    sockets: tuple[HostPort, ...]
    """From `listen` and the option -l. Empty: Kamailio listens on all interfaces."""
    names: tuple[HostPort, ...]
    """From `alias`, `advertise` and the table `domain`."""
    transports: frozenset[str]
    """Those over which Kamailio can send."""
    ip_versions: frozenset[int]
    """The ip versions of the sockets; both if `listen` has a name. Kamailio sends over no other."""
    has_reverse_names: bool
    """Whether Kamailio adds the names that DNS has for its sockets (`auto_aliases`)."""
    port: int = DEFAULT_PORTS["udp"]
    """The port of sockets without one, from `port`."""
    is_unknown: bool = False
    """Whether a value is known only to Kamailio, as one of `#!defenv`. Then nothing is checked."""

    def has(self, place: HostPort) -> bool:
        """Return whether Kamailio takes a host, and a port, for its own. May ask DNS."""
        if any(_fits(place, own) for own in self.names):
            return True
        if not self.sockets:
            if _is_ip(place.host):
                return self._is_on_an_interface(place)
        elif any(_fits(place, own) for own in self._bound()):
            return True
        return self.has_reverse_names and not _is_ip(place.host) and self._is_reverse_name(place)

    def listens(self, place: HostPort) -> bool:
        """Return whether an ip and port reach a socket of this Kamailio, or its `advertise`."""
        if not self.sockets:
            return self._is_on_an_interface(place)
        bound = [*self._bound(), *(one for one in self.names if _is_ip(one.host))]
        return any(_fits(place, own, any_ip=True) for own in bound)

    def first(self) -> str:
        """Return the first socket as `host:port`, or an example if `listen` names no ip."""
        for own in self.sockets:
            if _is_ip(own.host) and not ipaddress.ip_address(own.host).is_unspecified:
                return str(HostPort(own.host, own.port or self.port))
        return "192.0.2.9:5060"

    def _is_on_an_interface(self, place: HostPort) -> bool:
        ports = (None, self.port, DEFAULT_PORTS["tls"])
        return place.port in ports and is_of_this_machine(place.host)

    def _bound(self) -> Iterator[HostPort]:
        """Yield the sockets, with the ips of names and interfaces beside them."""
        for own in self.sockets:
            port = own.port or (DEFAULT_PORTS["tls"] if own.transport == "tls" else self.port)
            yield HostPort(own.host, port, own.transport)
            for ip in _ips_of(own.host):
                yield HostPort(ip, port, own.transport)

    def _is_reverse_name(self, place: HostPort) -> bool:
        ips = {own.host for own in self._bound() if _is_ip(own.host)} or {"127.0.0.1"}
        for ip in ips:
            try:
                name, others, _ = socket.gethostbyaddr(ip)
            except OSError:
                continue
            if place.host in {one.lower() for one in (name, *others)}:
                return True
        return False


def own_addresses(
    cfg: Cfg, options: Sequence[str] | None, domains: Sequence[str] = ()
) -> OwnAddresses:
    """Return what a configuration and a command line say. `domains`: of the table `domain`."""
    sockets: list[HostPort] = []
    names = [HostPort(domain.lower()) for domain in domains]
    for word in all_options(options or (), "l"):
        place, _, advertised = word.partition("/")
        sockets += filter(None, [HostPort.parse(place)])
        names += filter(None, [HostPort.parse(advertised)])
    for setting in cfg.settings:
        if setting.name == "listen":
            sockets += filter(None, [HostPort.parse(setting.value)])
            names += filter(None, [HostPort.parse(setting.advertise)])
        elif setting.name == "alias":
            if setting.is_string:
                names.append(HostPort(setting.value.lower()))
            else:
                names += filter(None, [HostPort.parse(setting.value)])
    auto_aliases = cfg.setting("auto_aliases")
    port = cfg.setting("port")
    values = [s.value + s.advertise for s in cfg.settings if s.name in ("listen", "alias")]
    is_unknown = cfg.setting("socket") is not None or any(map(cfg.is_from_environment, values))
    return OwnAddresses(
        tuple(sockets),
        tuple(names),
        frozenset(_transports(cfg, sockets)),
        frozenset(_ip_versions(cfg, sockets)),
        auto_aliases is None or auto_aliases[0].lower() not in OFF,
        int(port[0]) if port is not None and port[0].isdecimal() else DEFAULT_PORTS["udp"],
        is_unknown,
    )


def is_of_this_machine(host: str) -> bool:
    """Return whether an ip is an address of this machine; of the loopback ones only 127.0.0.1."""
    ip = ipaddress.ip_address(host)
    if ip.is_loopback:
        return host in ("127.0.0.1", "::1")
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def _transports(cfg: Cfg, sockets: Sequence[HostPort]) -> Iterator[str]:
    given = {own.transport for own in sockets} or {""}
    tcp = cfg.setting("disable_tcp")
    has_tcp = tcp is None or tcp[0].lower() in OFF
    tls = cfg.setting("enable_tls", "tls_enable")
    has_tls = tls is not None and tls[0].lower() not in OFF
    if given & {"", "udp"}:
        yield "udp"
    if has_tcp and given & {"", "tcp"}:
        yield "tcp"
    if has_tcp and has_tls and given & {"", "tls"}:
        yield "tls"


def _ip_versions(cfg: Cfg, sockets: Sequence[HostPort]) -> Iterator[int]:
    for own in sockets:
        yield from (ipaddress.ip_address(own.host).version,) if own.is_ip else (4, 6)
    if not sockets:
        yield 4
        ipv6 = cfg.setting("auto_bind_ipv6")
        if ipv6 is not None and ipv6[0].lower() not in OFF:
            yield 6


def _fits(place: HostPort, own: HostPort, *, any_ip: bool = False) -> bool:
    """Return whether a host, and a port where both have one, are the same.

    `any_ip`: a socket on 0.0.0.0 or :: has each ip of this machine.
    """
    if None not in (place.port, own.port) and place.port != own.port:
        return False
    if place.transport and own.transport and place.transport != own.transport:
        return False
    if any_ip and _is_ip(own.host) and ipaddress.ip_address(own.host).is_unspecified:
        return is_of_this_machine(place.host)
    return place.host == own.host


def _host(text: str) -> str:
    host = text.strip("[]").lower()
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _ips_of(host: str) -> list[str]:
    """Return the ips of a name or interface in `listen`; none for an ip."""
    if _is_ip(host):
        return []
    if host and "/" not in host and (Path("/sys/class/net") / host).exists():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            request = struct.pack("256s", host.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
            except OSError:
                return []
            return [socket.inet_ntoa(answer[20:24])]
    try:
        return [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)]
    except (OSError, UnicodeError):
        return []
