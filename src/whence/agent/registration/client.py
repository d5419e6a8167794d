"""A SIP client of Kamailio: it sends requests through the edge's agent socket.

The socket is connected, so the kernel drops datagrams from any other address. A reply must have the
branch, Call-ID and CSeq of a request in flight. A registrar's final answer, and any 2xx, must have
the edge's MAC. Other replies are rejected and counted. A failure (300 and more) without a source is
Kamailio's own. It needs no MAC, and counts as Unanswered.

If the registrar closed its TLS connection after the challenge, Kamailio cannot send the credentials
(decision 0027). The client then sends them over a connection of its own.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket as sockets
from typing import Protocol, cast

from whence.agent.registration import messages
from whence.agent.registration.exchanges import Exchange, Exchanges
from whence.core.mac import is_same
from whence.core.registration.events import Answered, Send, Unanswered
from whence.core.registration.keepalive import KeepAliveTarget, OptionsReply
from whence.core.registration.model import Account
from whence.core.registration.reason import NO_ANSWER, RegistrationReason, Why
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.core.sip.uri import host_text
from whence.errors import InvalidReplyError
from whence.ipc import headers

log = logging.getLogger(__name__)

PATIENCE_S = 4.0
"""How much longer the client waits than the edge, which ends first, with a 408."""
BUFFER_BYTES = 4_194_304
"""The receive buffer, for many answers at once; the system may give less.

If an answer is lost, the client retransmits. After the edge's transaction has ended, the edge sends
the same REGISTER again. After 20 s a Kamailio as registrar answers 400 to a CSeq that it has seen.
"""


def _rejected(why: str) -> Unanswered:
    message = f"every answer was rejected: {why}"
    return Unanswered(Why(RegistrationReason.ANSWER_NOT_ACCEPTED, message))


def _unanswered(exchange: Exchange) -> Unanswered:
    if exchange.rejected:
        return _rejected(exchange.rejected)
    return Unanswered(Why(RegistrationReason.NO_ANSWER_FROM_KAMAILIO, "no answer from Kamailio"))


class Tls(Protocol):
    """Opens TLS connections of the agent's own: `TlsConnections`."""

    async def fault(
        self, next_hop: TransportAddress, name: str, socket: TransportAddress
    ) -> Why | None:
        """Return why the TLS connection to `name` at `next_hop` fails; None if it does not."""

    async def ask(
        self,
        request: bytes,
        next_hop: TransportAddress,
        name: str,
        socket: TransportAddress,
        within_s: float,
    ) -> bytes | Why:
        """Send a request to the server that proves `name`; return its final answer, or why none."""


class KamailioClient(asyncio.DatagramProtocol):
    """A SIP client of the edge's agent socket. Made by `connect`."""

    def __init__(
        self,
        agent_socket: TransportAddress,
        key: str,
        answer_s: float,
        tls: Tls | None = None,
    ) -> None:
        self._agent_socket = agent_socket
        self._key = key
        self._answer_s = answer_s
        self._tls = tls
        self._transport: asyncio.DatagramTransport | None = None
        self._via = ""
        self._exchanges = Exchanges(self._send_datagram)
        self.rejected = 0
        """How many replies were rejected."""

    @classmethod
    async def connect(
        cls,
        agent_socket: TransportAddress,
        key: str,
        answer_s: float = 36.0,
        tls: Tls | None = None,
    ) -> KamailioClient:
        """Open a client.

        `agent_socket`: the agent socket of the edge. `key`: the key of the MACs. `answer_s`: how
        long the client waits for an answer. `tls` is used if Kamailio gets no answer over TLS.
        """
        _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: cls(agent_socket, key, answer_s, tls),
            local_addr=(str(agent_socket.ip), 0),
            remote_addr=(str(agent_socket.ip), agent_socket.port),
        )
        return protocol

    def close(self) -> None:
        """Close the socket; requests in flight get no answer."""
        if self._transport:
            self._transport.close()

    async def register(
        self, account: Account, send: Send, call_id: str, socket: TransportAddress
    ) -> Answered | Unanswered:
        """Send a REGISTER from the edge's `socket`, and wait for its final answer."""
        received = await self._send(account, send, call_id, socket)
        if (
            isinstance(received, messages.Received)
            and received.tls_reject_reason
            and not send.authorizations
        ):
            # Kamailio may have used a connection that was opened for another name at the same
            # address. It is closed now; a second try opens a new one.
            received = await self._send(account, send, call_id, socket)
        if isinstance(received, Unanswered):
            return received
        if received.source:
            source = TransportAddress.parse(received.source)
            seen_at = f"{source.transport}:{received.seen_at}" if received.seen_at else ""
            return Answered(
                received.reply,
                source,
                seen_at=TransportAddress.parse(seen_at) if seen_at else None,
            )
        if received.tls_reject_reason:
            message = headers.tls_reject_message(received.tls_reject_reason, account.name)
            return Unanswered(Why(RegistrationReason.TLS_ANSWER_NOT_ACCEPTED, message))
        if self._tls is not None and send.next_hop.transport is Transport.TLS:
            if send.authorizations:
                return await self._register_directly(self._tls, account, send, call_id, socket)
            fault = await self._tls.fault(send.next_hop, account.name, socket)
            if fault is not None:
                return Unanswered(fault)
        if received.status == 408:  # Kamailio's own: no server answered
            return Unanswered(NO_ANSWER)
        message = f"not sent: {received.status} {received.reply.reason}"
        return Unanswered(Why(RegistrationReason.NOT_SENT, message))

    async def _register_directly(
        self, tls: Tls, account: Account, send: Send, call_id: str, socket: TransportAddress
    ) -> Answered | Unanswered:
        """Send a REGISTER with credentials over a connection of the agent's own.

        The edge sends credentials only over an open connection, whose certificate it has verified.
        This server closed it.
        """
        branch = _branch()
        sent_by = f"{host_text(socket.ip_text)}:{socket.port}"
        via_text = f"SIP/2.0/TLS {sent_by};rport;branch={branch}"
        request = messages.register(account, send, call_id, via_text, ())
        answer = await tls.ask(request, send.next_hop, account.name, socket, self._answer_s)
        if isinstance(answer, Why):
            return Unanswered(answer)
        try:
            received = messages.read(answer)
        except InvalidReplyError as error:
            return _rejected(f"an unreadable reply: {error}")
        identity = (received.branch, received.call_id, received.cseq, received.method)
        if identity != (branch, call_id, send.cseq, "REGISTER"):
            return _rejected("a reply to another request")
        seen_at = f"tls:{received.via_seen_at}" if received.via_seen_at else ""
        return Answered(
            received.reply,
            send.next_hop,
            seen_at=TransportAddress.parse(seen_at) if seen_at else None,
        )

    async def _send(
        self, account: Account, send: Send, call_id: str, socket: TransportAddress
    ) -> messages.Received | Unanswered:
        exchange = self._exchange(call_id, send.cseq, "REGISTER")
        edge_headers = self._headers_for_edge(exchange, account, send.next_hop, socket)
        branch = _branch()
        request = messages.register(account, send, call_id, self._via + branch, edge_headers)
        received = await self._exchanges.ask(branch, exchange, request, self._answer_s)
        if received is None:
            return _unanswered(exchange)
        return received

    async def keep_alive(self, target: KeepAliveTarget, within_s: float) -> OptionsReply | None:
        """Send an OPTIONS to the server that granted; return its answer, or None in time."""
        call_id = secrets.token_hex(16)
        exchange = self._exchange(call_id, 1, "OPTIONS")
        edge_headers = self._headers_for_edge(
            exchange, target.account, target.next_hop, target.socket
        )
        branch = _branch()
        request = messages.keep_alive(target.account, call_id, self._via + branch, edge_headers)
        received = await self._exchanges.ask(branch, exchange, request, within_s)
        if received is None or not received.source:
            return None
        return OptionsReply(received.status, TransportAddress.parse(received.source))

    def _headers_for_edge(
        self,
        exchange: Exchange,
        account: Account,
        next_hop: TransportAddress,
        socket: TransportAddress,
    ) -> tuple[str, str, str]:
        """Return the headers that the edge reads: next hop, socket and MAC."""
        next_hop_uri = f"sip:{host_text(next_hop.ip_text)}:{next_hop.port}"
        if next_hop.transport is not Transport.UDP:
            next_hop_uri += f";transport={next_hop.transport}"
        if next_hop.transport is Transport.TLS:
            next_hop_uri += f"{headers.NAME_PARAM}{account.name}"
        mac = headers.request_mac(
            self._key,
            exchange.method,
            exchange.call_id,
            str(exchange.cseq),
            next_hop_uri,
            str(socket),
        )
        return (
            f"{headers.NEXT_HOP}: {next_hop_uri}",
            f"{headers.SOCKET}: {socket}",
            f"{headers.MAC}: {mac}",
        )

    async def lives(self, within_s: float = 1.0) -> bool:
        """Return whether Kamailio, and the edge in it, answer an OPTIONS."""
        call_id = secrets.token_hex(16)
        mac = headers.request_mac(self._key, "OPTIONS", call_id, "1", "", "")
        uri = f"sip:{host_text(str(self._agent_socket.ip))}:{self._agent_socket.port}"
        branch = _branch()
        request = messages.options(uri, call_id, 1, self._via + branch, (f"{headers.MAC}: {mac}",))
        exchange = self._exchange(call_id, 1, "OPTIONS")
        received = await self._exchanges.ask(branch, exchange, request, within_s)
        return received is not None and received.status == 200

    def _send_datagram(self, request: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(request)

    def _exchange(self, call_id: str, cseq: int, method: str) -> Exchange:
        answer = asyncio.get_running_loop().create_future()
        return Exchange(call_id, cseq, method, answer)

    # The methods of asyncio.DatagramProtocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the buffer, and store our own port for the Via."""
        # uvloop's transports have no asyncio class; create_datagram_endpoint passes only these.
        self._transport = cast(asyncio.DatagramTransport, transport)
        own = transport.get_extra_info("socket")
        own.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, BUFFER_BYTES)
        host, port = transport.get_extra_info("sockname")[:2]
        # No rport: Kamailio would write one beside the Via, which the edge does not let out.
        self._via = f"SIP/2.0/UDP {host_text(host)}:{port};branch="

    def error_received(self, exc: Exception) -> None:
        """Ignore an ICMP error: the request is retransmitted until its timeout."""
        log.debug("agent socket: %s", exc)

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Pass a valid reply to the request that it answers."""
        del addr  # the socket is connected, so there is only one
        try:
            received = messages.read(data)
        except InvalidReplyError as error:
            self._reject(f"an unreadable reply: {error}")
            return
        exchange = self._exchanges.get(received.branch)
        if exchange is None:
            return  # late, or to another client
        if (received.call_id, received.cseq, received.method) != (
            exchange.call_id,
            exchange.cseq,
            exchange.method,
        ):
            exchange.rejected = "a reply to another request"
            self._reject(exchange.rejected)
        elif received.status >= 200 and not self._is_authentic(received):
            exchange.rejected = f"a {received.status} without the edge's MAC"
            self._reject(exchange.rejected)
        elif received.status >= 200:
            exchange.answer.set_result(received)

    def _is_authentic(self, received: messages.Received) -> bool:
        """Return whether a reply has a valid MAC, or is Kamailio's own failure."""
        if not received.source and not received.tls_reject_reason and not received.mac:
            return received.method == "OPTIONS" or received.status >= 300
        mac = headers.reply_mac(
            self._key,
            received.call_id,
            str(received.cseq),
            received.status,
            received.source,
            received.tls_reject_reason,
            received.seen_at,
        )
        return is_same(mac, received.mac)

    def _reject(self, why: str) -> None:
        self.rejected += 1
        if self.rejected == 1 or self.rejected % 1000 == 0:
            log.warning("rejected a reply (%d so far): %s", self.rejected, why)


def _branch() -> str:
    return "z9hG4bK" + secrets.token_hex(16)
