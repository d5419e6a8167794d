"""The neighbour Kamailio: requests through the edge's agent socket, and what comes back.

The socket is connected, so the kernel drops what comes from any other place. A reply counts only
with the branch, Call-ID and CSeq of a request under way, and a registrar's final answer, and any
that grants, only with the edge's MAC; others are rejected, and counted. A failure (300 and
more) that names no source is Kamailio's own, and needs no MAC: it is Unanswered.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket as sockets
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol, cast

from whence.agent.registration import messages
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

RETRANSMIT_S = 0.5  # T1, RFC 3261 17.1.1.1; doubled each time, to T2
RETRANSMIT_LIMIT_S = 4.0
PATIENCE_S = 4.0
"""How much longer we wait than the edge, which gives up first and says 408."""
BUFFER_BYTES = 4_194_304
"""What holds answers that come at once until we read them; the system may give less.

An answer that is lost until the edge has forgotten it makes the edge send the same REGISTER once
more, and after 20 s a Kamailio that is a registrar answers 400 to a CSeq that it knows.
"""


@dataclass(slots=True)
class _Exchange:
    """A request under way."""

    call_id: str
    cseq: int
    method: str
    answer: asyncio.Future[messages.Received]
    rejected: str = ""
    """Why the client rejected an answer."""


def _why_none(exchange: _Exchange) -> Why:
    if exchange.rejected:
        said = f"no answer that counts: {exchange.rejected}"
        return Why(RegistrationReason.ANSWER_NOT_BELIEVED, said)
    return Why(RegistrationReason.NO_ANSWER_FROM_KAMAILIO, "no answer from Kamailio")


class Explain(Protocol):
    """Who finds out why a server is not reached over TLS: `TlsProbe.fault`."""

    def __call__(
        self, next_hop: TransportAddress, name: str, socket: TransportAddress, /
    ) -> Awaitable[Why | None]:
        """Why `name` at `next_hop` is not believed; None if no reason is found."""


class KamailioClient(asyncio.DatagramProtocol):
    """A SIP client of the edge's agent socket. Made by `connect`."""

    def __init__(
        self,
        agent_socket: TransportAddress,
        key: str,
        answer_s: float,
        explain: Explain | None = None,
    ) -> None:
        self._agent_socket = agent_socket
        self._key = key
        self._answer_s = answer_s
        self._explain = explain
        self._transport: asyncio.DatagramTransport | None = None
        self._via = ""
        self._exchanges: dict[str, _Exchange] = {}
        self.rejected = 0
        """Replies that were not believed."""

    @classmethod
    async def connect(
        cls,
        agent_socket: TransportAddress,
        key: str,
        answer_s: float = 36.0,
        explain: Explain | None = None,
    ) -> KamailioClient:
        """Open our end.

        `agent_socket`: the edge's agent socket; `key`: the key of the MACs; `answer_s`: how long an
        answer is waited for; `explain` is asked where none comes over TLS.
        """
        _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: cls(agent_socket, key, answer_s, explain),
            local_addr=(str(agent_socket.ip), 0),
            remote_addr=(str(agent_socket.ip), agent_socket.port),
        )
        return protocol

    def close(self) -> None:
        """Close our end; what is under way is never answered."""
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
            # Kamailio may have taken a connection that was opened for another name at the same
            # place. It is closed now, and a second try has one of its own.
            received = await self._send(account, send, call_id, socket)
        if isinstance(received, Unanswered):
            return received
        if received.source:
            return Answered(received.reply, TransportAddress.parse(received.source))
        if received.tls_reject_reason:
            said = headers.tls_reject_message(received.tls_reject_reason, account.name)
            return Unanswered(Why(RegistrationReason.TLS_ANSWER_NOT_BELIEVED, said))
        if self._explain is not None and send.next_hop.transport is Transport.TLS:
            fault = await self._explain(send.next_hop, account.name, socket)
            if fault is not None:
                return Unanswered(fault)
        if received.status == 408:  # Kamailio's own word: nobody answered it
            return Unanswered(NO_ANSWER)
        said = f"not sent: {received.status} {received.reply.reason}"
        return Unanswered(Why(RegistrationReason.NOT_SENT, said))

    async def _send(
        self, account: Account, send: Send, call_id: str, socket: TransportAddress
    ) -> messages.Received | Unanswered:
        exchange = self._exchange(call_id, send.cseq, "REGISTER")
        edge_headers = self._headers_for_edge(exchange, account, send.next_hop, socket)
        branch = _branch()
        request = messages.register(account, send, call_id, self._via + branch, edge_headers)
        received = await self._ask(branch, exchange, request, self._answer_s)
        if received is None:
            return Unanswered(_why_none(exchange))
        return received

    async def keep_alive(self, way: KeepAliveTarget, within_s: float) -> OptionsReply | None:
        """Send an OPTIONS to the server that granted; return what was answered, and from where."""
        call_id = secrets.token_hex(16)
        exchange = self._exchange(call_id, 1, "OPTIONS")
        edge_headers = self._headers_for_edge(exchange, way.account, way.next_hop, way.socket)
        branch = _branch()
        request = messages.keep_alive(way.account, call_id, self._via + branch, edge_headers)
        received = await self._ask(branch, exchange, request, within_s)
        if received is None or not received.source:
            return None
        return OptionsReply(received.status, TransportAddress.parse(received.source))

    def _headers_for_edge(
        self,
        exchange: _Exchange,
        account: Account,
        next_hop: TransportAddress,
        socket: TransportAddress,
    ) -> tuple[str, str, str]:
        """What the edge is to do with a request, and its MAC."""
        where = f"sip:{host_text(next_hop.ip_text)}:{next_hop.port}"
        if next_hop.transport is not Transport.UDP:
            where += f";transport={next_hop.transport}"
        if next_hop.transport is Transport.TLS:
            where += f"{headers.NAME_PARAM}{account.name}"
        mac = headers.request_mac(
            self._key,
            exchange.method,
            exchange.call_id,
            str(exchange.cseq),
            where,
            str(socket),
        )
        return (
            f"{headers.NEXT_HOP}: {where}",
            f"{headers.SOCKET}: {socket}",
            f"{headers.MAC}: {mac}",
        )

    async def lives(self, within_s: float = 1.0) -> bool:
        """Whether Kamailio, and the edge in it, answer."""
        call_id = secrets.token_hex(16)
        mac = headers.request_mac(self._key, "OPTIONS", call_id, "1", "", "")
        uri = f"sip:{host_text(str(self._agent_socket.ip))}:{self._agent_socket.port}"
        branch = _branch()
        request = messages.options(uri, call_id, 1, self._via + branch, (f"{headers.MAC}: {mac}",))
        exchange = self._exchange(call_id, 1, "OPTIONS")
        received = await self._ask(branch, exchange, request, within_s)
        return received is not None and received.status == 200

    async def _ask(
        self, branch: str, exchange: _Exchange, request: bytes, within_s: float
    ) -> messages.Received | None:
        """Send until a final reply comes; None when none came in time."""
        self._exchanges[branch] = exchange
        wait_s = RETRANSMIT_S
        try:
            async with asyncio.timeout(within_s):
                while True:
                    if self._transport is not None:
                        self._transport.sendto(request)
                    done, _ = await asyncio.wait((exchange.answer,), timeout=wait_s)
                    if done:
                        return exchange.answer.result()
                    wait_s = min(wait_s * 2, RETRANSMIT_LIMIT_S)
        except TimeoutError:
            return None
        finally:
            del self._exchanges[branch]

    def _exchange(self, call_id: str, cseq: int, method: str) -> _Exchange:
        answer = asyncio.get_running_loop().create_future()
        return _Exchange(call_id, cseq, method, answer)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Learn our own port, for the Via."""
        # uvloop's transports are of no asyncio class; a datagram endpoint hands in none but these.
        self._transport = cast(asyncio.DatagramTransport, transport)
        own = transport.get_extra_info("socket")
        own.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, BUFFER_BYTES)
        host, port = transport.get_extra_info("sockname")[:2]
        self._via = f"SIP/2.0/UDP {host_text(host)}:{port};rport;branch="

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there: the request is sent again, and given up in time."""
        log.debug("agent socket: %s", exc)

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Give a reply to the request it answers, if it can be believed."""
        del addr  # the socket is connected: there is only one
        try:
            received = messages.read(data)
        except InvalidReplyError as error:
            self._reject(f"an unreadable reply: {error}")
            return
        exchange = self._exchanges.get(received.branch)
        if exchange is None or exchange.answer.done():
            return  # late, or not ours
        if (received.call_id, received.cseq, received.method) != (
            exchange.call_id,
            exchange.cseq,
            exchange.method,
        ):
            exchange.rejected = "a reply to another request"
            self._reject(exchange.rejected)
        elif received.status >= 200 and not self._believed(received):
            exchange.rejected = f"a {received.status} without the edge's MAC"
            self._reject(exchange.rejected)
        elif received.status >= 200:
            exchange.answer.set_result(received)

    def _believed(self, received: messages.Received) -> bool:
        """Return whether a reply counts: it has a valid MAC, or it is Kamailio's own failure."""
        if not received.source and not received.tls_reject_reason and not received.mac:
            return received.method == "OPTIONS" or received.status >= 300
        mac = headers.reply_mac(
            self._key,
            received.call_id,
            str(received.cseq),
            received.status,
            received.source,
            received.tls_reject_reason,
        )
        return is_same(mac, received.mac)

    def _reject(self, why: str) -> None:
        self.rejected += 1
        if self.rejected == 1 or self.rejected % 1000 == 0:
            log.warning("rejected a reply (%d so far): %s", self.rejected, why)


def _branch() -> str:
    return "z9hG4bK" + secrets.token_hex(16)
