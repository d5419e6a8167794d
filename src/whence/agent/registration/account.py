"""The account of a trunk at its registrar, with our Contact."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from whence.core.registration.model import Account
from whence.core.settings import TrunkSettings
from whence.core.sip.sockets import EdgeSockets
from whence.core.sip.transport_address import SERVER_TRANSPORTS, Transport, TransportAddress
from whence.core.sip.uri import Uri


def make_account(trunk: TrunkSettings, token: str, sockets: EdgeSockets) -> Account:
    """Return the trunk's account, before the first REGISTER.

    Its Contact has the trunk's socket, or the first one of its server's transport.
    """
    server = trunk.server
    socket = trunk.socket or sockets.first_for(server.params.get("transport", "udp"))
    return Account(
        trunk.aor,
        make_contact(trunk, token, socket, sockets.place_of(socket)),
        trunk.credentials,
        trunk.expires_s,
        trunk.tls_name,
        trunk.rewrites_contact,
        trunk.request_port,
        trunk.headers,
    )


_PARAMS: Mapping[Transport, Mapping[str, str]] = {
    transport: MappingProxyType({} if transport is Transport.UDP else {"transport": str(transport)})
    for transport in SERVER_TRANSPORTS.values()
}
"""The parameters of our Contact: one object for all trunks."""


def make_contact(
    trunk: TrunkSettings, token: str, socket: TransportAddress, place: tuple[str, int]
) -> Uri:
    """Return our Contact for a trunk at one of our sockets. It contains the trunk's token.

    `place`: the (ip, port) at which the provider reaches the socket.
    """
    host, port = place
    params = _PARAMS[socket.transport]
    if trunk.contact == "line":
        return Uri("sip", trunk.user, host, port, {**params, "line": token})
    return Uri("sip", token, host, port, params)
