"""The agent's own requests to registrars, REGISTER and OPTIONS, from the agent socket."""

from __future__ import annotations

from whence.core.mac import is_same
from whence.core.sip import via
from whence.core.sip.transport_address import Transport
from whence.edge.base import ANSWERED, GO_ON, Handlers, Worker, answers, survives, text
from whence.edge.tls_identity import SERVER_NAME, peer_fault
from whence.ipc import headers
from whence.store.schema import AGENT_KEY
from whence.trust import certificates

AGENT_REPLY = "AGENT_REPLY"
"""The reply route of the agent's own requests; it runs only for replies of their transactions."""

PEER_NAME = "$avp(whence_name)"
"""Set for a request over TLS, and read for its replies: the name that the certificate needs."""

VERIFIED = "verified"
"""Table: Call-ID, next hop and name → the connection of the last answer with a valid certificate.

A connection has one certificate for all its life. An entry lasts longer than a REGISTER with its
retransmissions.
"""

CONNECTION_KEY = "$avp(whence_connection)"
"""The key in VERIFIED of a request over TLS, kept for its replies."""

CONNECTION = "$var(connection)"
"""Kamailio's variable with its connection to the next hop of a request over TLS; 0: none."""

AGENT_VIA = "$avp(whence_via)"
"""Of the agent's request, kept for its replies: the agent's own Via, which does not leave."""

KEEPALIVE_MS = 4_000
"""How long Kamailio repeats an OPTIONS to a registrar. Then the keep-alive has failed."""


class AgentRequestHandlers(Handlers):
    """Sends the agent's requests on, and adds the source header to their replies."""

    def __init__(self, worker: Worker, answer_ms: int) -> None:
        """`answer_ms`: how long a registrar may take to answer."""
        super().__init__(worker)
        self._answer_ms = answer_ms

    @answers
    def ksr_agent_request(self, _message: object) -> int:
        """Send the agent's REGISTER or keep-alive on; answer its OPTIONS to the edge itself.

        A request without a valid MAC is not the agent's, and gets a 403.
        """
        ksr = self.ksr
        method, cseq = ksr.kx.get_method(), str(ksr.pv.get("$cs"))
        call_id = text(ksr.kx.get_callid) or ""
        next_hop = text(lambda: ksr.hdr.get(headers.NEXT_HOP)) or ""
        socket = text(lambda: ksr.hdr.get(headers.SOCKET)) or ""
        expected = headers.request_mac(
            self.worker.directory.meta(AGENT_KEY), method, call_id, cseq, next_hop, socket
        )
        if not is_same(expected, text(lambda: ksr.hdr.get(headers.MAC)) or ""):
            return self.worker.answer(403, "Forbidden")
        if method == "OPTIONS" and not next_hop:
            return self.worker.answer(200, "OK")
        where, _, name = next_hop.partition(headers.NAME_PARAM)
        if name and not self._name_peer(name, f"{call_id} {where} {name}"):
            return self.worker.answer(500, "No Verified Connection")
        self.worker.remove_ours()
        self._hide_agent()
        ksr.setdsturi(where)
        ksr.pv.sets("$fs", socket)
        ksr.tm.t_on_reply(AGENT_REPLY)
        wait_ms = KEEPALIVE_MS if method == "OPTIONS" else self._answer_ms
        ksr.tm.t_set_fr(0, wait_ms)
        ksr.tm.t_set_max_lifetime(0, wait_ms)  # by default it ends after 32 s
        if ksr.tm.t_relay() < 0:
            ksr.sl.sl_reply_error()  # the agent logs the reason
        return ANSWERED

    @survives
    def ksr_agent_reply(self, _message: object) -> int:
        """Add the source header, and its MAC, to a reply to a request of the agent.

        Headers of that name that the reply already has are removed. An answer over TLS needs a
        certificate for the name in the agent's request; else a TLS reject reason replaces the
        source header.
        """
        ksr = self.ksr
        self.worker.remove_ours()
        seen_at = via.seen_at(text(lambda: ksr.hdr.get("Via")) or "")
        ksr.hdr.append(f"Via: {ksr.pv.get(AGENT_VIA)}\r\n")
        source, status = self.worker.source(), ksr.kx.get_status()
        name = ksr.pv.get(PEER_NAME)
        reject_reason = "" if name is None else peer_fault(ksr, source, str(name))
        if name is not None and source.transport is Transport.TLS:
            # Without TCP, a look at $conid ends Kamailio.
            connection = int(ksr.pv.get("$conid") or 0)
            if not reject_reason:
                ksr.htable.sht_seti(VERIFIED, str(ksr.pv.get(CONNECTION_KEY)), connection)
            elif status >= 200:
                # The connection may be one for another name at this address: use it no more.
                ksr.tcpops.tcp_close_connection_id(connection)
        mac = headers.reply_mac(
            self.worker.directory.meta(AGENT_KEY),
            str(ksr.kx.get_callid()),
            str(int(ksr.pv.get("$cs") or 0)),  # a registrar may write it with leading zeros
            status,
            "" if reject_reason else str(source),
            reject_reason,
            seen_at,
        )
        header = headers.TLS_REJECT_REASON if reject_reason else headers.SOURCE
        ksr.hdr.append(f"{header}: {reject_reason or source}\r\n")
        if seen_at:
            ksr.hdr.append(f"{headers.SEEN_AT}: {seen_at}\r\n")
        ksr.hdr.append(f"{headers.MAC}: {mac}\r\n")
        return GO_ON

    def _hide_agent(self) -> None:
        """Keep the agent's Via for the reply, and send none of the addresses inside.

        Kamailio's own Via then is the only one. It asks for the port that the registrar sees.
        """
        ksr = self.ksr
        ksr.pv.sets(AGENT_VIA, str(ksr.hdr.get("Via")))
        ksr.hdr.remove("Via")
        ksr.add_local_rport()

    def _name_peer(self, name: str, key: str) -> bool:
        """Set the name that the peer of the TLS connection must prove. `key`: in VERIFIED.

        Return False for credentials without a connection whose peer has proved its name.
        """
        ksr = self.ksr
        ksr.pv.sets(PEER_NAME, name)
        ksr.pv.sets(CONNECTION_KEY, key)
        if not certificates.is_literal(name):  # RFC 6066 3: SNI bears DNS names only
            ksr.pv.sets(SERVER_NAME, name)
        if any(ksr.hdr.get(header) for header in ("Authorization", "Proxy-Authorization")):
            # Kamailio sends over CONNECTION, or over none. Its peer must have proved this name.
            verified = ksr.htable.sht_get(VERIFIED, key)
            if verified is None or ksr.pv.get(CONNECTION) != verified:
                return False
            ksr.set_forward_no_connect()
        return True
