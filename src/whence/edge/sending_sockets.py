"""Chooses the edge's own socket for a request, where several of its addresses can send it."""

from __future__ import annotations

from whence.core.sip.sockets import EdgeSockets
from whence.core.sip.transport_address import (
    IP,
    WEBSOCKETS,
    Transport,
    TransportAddress,
    canonical_ip,
)
from whence.core.sip.uri import Uri
from whence.edge.base import Worker
from whence.edge.ksr import Ksr
from whence.ipc import kernel_route

FORCED = "$fs"
"""The socket from which Kamailio must send the message at hand."""

_LOCALHOST = canonical_ip("127.0.0.1")


class SendingSockets:
    """Forces a socket of the edge for the message at hand.

    Kamailio alone sends over TCP, TLS, and without `mhomed` over UDP, from the first socket of the
    file. With `mhomed` it refuses a request if the kernel's source address has no socket.
    """

    def __init__(self, ksr: Ksr, sockets: EdgeSockets) -> None:
        self._ksr = ksr
        self._sockets = sockets
        # Most edges have one socket and no NAT: there a call must cost nothing here.
        kinds = {(socket.transport, socket.ip.version) for socket in sockets.listen}
        self.chooses = any(sockets.has_choice(*kind) for kind in kinds)
        """Whether the socket of a request depends on the kernel's routes."""
        self.has_nat = any(sockets.follows_nat(socket) for socket in sockets.listen)
        """Whether the advertised address of some socket changes at run time."""

    def follows_nat(self, socket: TransportAddress) -> bool:
        """Return whether the advertised address of a socket changes at run time."""
        return self._sockets.follows_nat(socket)

    def force_for_target(self, target: str) -> None:
        """Force the socket on the kernel's route to a target. For a name Kamailio chooses."""
        uri = Uri.parse(target) if self.chooses else None
        ip = _ip(uri.host) if uri is not None else None
        if uri is None or ip is None:
            return
        given = uri.params.get("transport", "udp").lower()
        transport = Transport.TLS if uri.scheme == "sips" else given
        self._force(transport, ip, received_on=None)

    def force_in_dialog(self, hop: str, worker: Worker) -> None:
        """Force a socket for a request inside a dialog, unless our own Routes named one.

        `hop`: where it is sent. A dialog with one Route of ours has one socket, on which the
        request was received.
        """
        if not self.chooses or self._ksr.pv.get(FORCED) is not None:
            return
        uri = Uri.parse(hop)
        ip = _ip(uri.host) if uri is not None else None
        if uri is not None and ip is not None:
            self._force(uri.params.get("transport", "udp").lower(), ip, worker.received_on())

    def _force(self, transport: str, ip: IP, received_on: TransportAddress | None) -> None:
        if transport in WEBSOCKETS:  # it goes over the connection of the phone
            return
        if not self._sockets.has_choice(transport, ip.version):
            return
        fitting = self._sockets.fitting(transport, ip.version)
        socket = received_on if received_on in fitting else None
        if socket is None:
            own_ip = kernel_route.source_ip(ip)
            socket = self._sockets.socket_for(transport, ip.version, own_ip)
        self._ksr.pv.sets(FORCED, str(socket))


def _ip(host: str) -> IP | None:
    try:
        return _LOCALHOST if host.lower() == "localhost" else canonical_ip(host)
    except ValueError:
        return None
