"""Reads the settings file, and reports all its faults at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from whence.agent.config.models import Config, EdgeConfig
from whence.agent.config.outbound_to_core import outbound_faults
from whence.agent.config.sip_headers import ALL_HEADERS_LIMIT
from whence.agent.config.toml import checked, toml
from whence.agent.config.trunk import TrunkConfig
from whence.agent.config.uris import own_uri, target_uri
from whence.core.sip.sockets import EdgeSockets
from whence.core.sip.transport_address import SERVER_TRANSPORTS, WEBSOCKETS, Transport, canonical_ip
from whence.core.sip.uri import Uri
from whence.errors import ConfigError


def load(path: Path) -> Config:
    """Read and check a settings file. Raises ConfigError with all faults."""
    return check(toml(path), path)


def check(data: dict[str, Any], path: Path) -> Config:
    """Check the tables of a settings file. Raises ConfigError with all faults.

    `path`: the file, for relative paths and for the faults.
    """
    settings, faults = checked_config(data, path)
    if settings is None or faults:
        raise ConfigError(faults)
    return settings


def checked_config(data: dict[str, Any], path: Path) -> tuple[Config | None, list[str]]:
    """Return the settings in `data`, or None, and all faults. `path`: the file read."""
    settings, faults = checked(Config, data, path)
    faults += [f"{path.name}: {fault}" for fault in _duplicates(data)]
    if settings is not None:
        faults += [f"{path.name}: {fault}" for fault in _contradictions(settings)]
        faults += [f"{path.name}: {fault}" for fault in outbound_faults(settings)]
    return settings, faults


def _duplicates(data: dict[str, Any]) -> list[str]:
    faults = []
    for table, key in (("trunk", "id"), ("user", "name")):
        entries = data.get(table)
        listed = entries if isinstance(entries, list) else []
        names = [entry.get(key) for entry in listed if isinstance(entry, dict)]
        counted = Counter(name for name in names if isinstance(name, str))
        faults += [
            f'{table} "{name}": occurs {times} times; give each its own {key}'
            for name, times in sorted(counted.items())
            if times > 1
        ]
    return faults


def _contradictions(settings: Config) -> list[str]:
    """Return the faults between tables: a target without its user, a server without a socket."""
    users = {user.name for user in settings.user}
    sockets = settings.edge.sockets
    faults = []
    if len(settings.number_headers) > ALL_HEADERS_LIMIT:
        faults.append(
            f"trunk: number_headers: the trunks name {len(settings.number_headers)} different "
            f"headers; write {ALL_HEADERS_LIMIT} at most"
        )
    for trunk in settings.trunk:
        faults += contradictions_of_trunk(trunk, settings, sockets, users)
    return faults


def contradictions_of_trunk(
    trunk: TrunkConfig, settings: Config, sockets: EdgeSockets, users: Collection[str]
) -> Iterator[str]:
    """Yield the faults between a trunk and the other tables.

    `sockets`: those of `settings`. `users`: the names of the users.
    """
    place, target = f'trunk "{trunk.id}"', target_uri(trunk.target)
    at_home = target is not None and target.host == _host_of(settings.edge.domain)
    if target and at_home and "{number}" not in trunk.target and target.user not in users:
        yield (
            f'{place}: target: has no user "{target.user}"; '
            f'add [[user]] with name = "{target.user}"'
        )
    if trunk.number_format == "national" and not settings.country_code_of(trunk):
        yield (
            f'{place}: number_format: "national" needs a country; write country = "44" here or '
            "in [edge]"
        )
    if fault := _socket_fault(settings.edge, trunk):
        yield f"{place}: socket: {fault}"
    if missing := _no_socket(sockets, trunk.server):
        yield f"{place}: {'proxy' if trunk.proxy else 'registrar'}: {missing} to edge listen"


def targets_without_socket(settings: Config) -> list[str]:
    """Return a warning for each trunk whose target no socket of `listen` can reach.

    The edge refuses its calls. Those of the other trunks pass, so this is no fault of the file.
    """
    sockets = settings.edge.sockets
    hosts = {_host_of(settings.edge.domain), *(socket.ip_text for socket in settings.edge.listen)}
    found = []
    for trunk in settings.trunk:
        target = target_uri(trunk.target)
        if target is None or target.host in hosts or _advertises(sockets, target.host):
            continue
        transport = target.params.get("transport", "udp").lower()
        if target.port is not None:
            target = target._replace(params={"transport": transport})  # RFC 3263 4.1
        if transport not in SERVER_TRANSPORTS:
            found.append(
                f'trunk "{trunk.id}": target: transport {transport} is not known, so the edge '
                f"refuses its calls; write {' or '.join(SERVER_TRANSPORTS)}"
            )
        elif missing := _no_socket(sockets, target):
            found.append(
                f'trunk "{trunk.id}": target: {missing} to edge listen, or the edge refuses its '
                "calls"
            )
    return found


def _advertises(sockets: EdgeSockets, host: str) -> bool:
    return any(host == one.host for _, one in sockets.advertised)


def _socket_fault(edge: EdgeConfig, trunk: TrunkConfig) -> str:
    """Return the fault of the socket that a trunk names; empty without a fault."""
    socket, server = trunk.socket, trunk.server
    if socket is None:
        return ""
    if socket.transport in WEBSOCKETS:
        return f'"{socket}" is for phones in browsers; write a socket that is not'
    if socket not in edge.listen:
        return f'"{socket}" is not in edge listen; write one of {", ".join(map(str, edge.listen))}'
    transport = server.params.get("transport")
    try:
        version: int | None = canonical_ip(server.host).version
    except ValueError:
        version = None
    if version is not None:
        transport = transport or Transport.UDP
    if (transport or socket.transport) != socket.transport or version not in (
        None,
        socket.ip.version,
    ):
        return (
            f'"{socket}" cannot reach {trunk.proxy or trunk.registrar}; write a socket of the '
            "same transport and IP version"
        )
    return ""


def _no_socket(sockets: EdgeSockets, server: Uri) -> str:
    """Return the fault if no socket of the edge can reach a server or target.

    Empty: a socket can reach it, or the answer depends on DNS.
    """
    given = "tls" if server.scheme == "sips" else server.params.get("transport", "").lower()
    transport = SERVER_TRANSPORTS.get(given)
    try:
        version = canonical_ip(server.host).version
    except ValueError:  # a name; its addresses are not known yet
        version = None
    if version is not None:
        transport = transport or Transport.UDP  # RFC 3263 4.1
    if not transport or (version and sockets.socket_for(transport, version)):
        return ""
    socket = f'"{transport}:{"[ip]" if version == 6 else "ip"}:port"'
    if not any(own.transport is transport for own in sockets.listen):
        return f"is reached over {transport}, on which the edge does not listen; add {socket}"
    if version is None:
        return ""
    return (
        f"is reached over {transport} at an address of IPv{version}, for which the edge has no "
        f"socket; add {socket}"
    )


def _host_of(domain: str) -> str:
    """Return the host of a domain as `Uri` has it."""
    uri = own_uri(f"sip:{domain}")
    return uri.host if uri is not None else ""
