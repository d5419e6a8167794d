"""What is asked of the edge: kamailio.cfg does what any proxy does, and asks here what only Whence
knows. Whose call is this? Is that the agent, and what does it want? Whose phone registers?
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from whence.core import mac
from whence.core.dialogs.record import OwnSockets
from whence.core.identification.decision import Identified, Unknown
from whence.core.identification.identify import dialled
from whence.core.sip.phone_number import bare
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.core.sip.uri import escape_user
from whence.edge import tls_identity
from whence.edge.base import ANSWERED, GO_ON, answers, read, survives
from whence.edge.decision_cache import CachedDecision, CacheKey
from whence.edge.dialogs import LOCATION, DialogHandlers
from whence.edge.guard import WRONG_PASSWORD, Limits
from whence.edge.ksr import Ksr
from whence.ipc import decisions
from whence.ipc import headers as stamp
from whence.store.schema import INSIDE_KEY

INSIDE_REPLY = "INSIDE"
"""The reply route of the agent's own requests; it runs only for replies of their transactions."""

TO_USER = 2
"""What `ksr_initial` returns where the call goes to a user of ours: kamailio.cfg looks for his
phones."""

PEER_NAME = "$avp(whence_name)"
"""Of the agent's request over TLS, kept for its replies: for whom the certificate must be."""

SERVER_NAME = "$xavp(tls=>server_name)"
"""What Kamailio's tls names (SNI) when it opens a connection."""

KEEPALIVE_MS = 4_000
"""How long the agent's OPTIONS to a registrar is repeated; after that it is missed."""

HA1_GIVEN = 1  # auth.pv_auth_check: what is handed in is an HA1, not a password
QOP_AUTH = 1  # auth.auth_challenge: offer qop="auth", so that responses count their use

SAY_STALE = 16  # auth.auth_challenge: the phone need not ask its human, the nonce was used or old
NONCE_STALE = frozenset({-4, -6})  # auth.pv_auth_check: old, or of another ip; used
NOBODYS_HA1 = "0" * 32

RELAYED = frozenset({"INVITE", "MESSAGE"})
"""What a trunk may begin: a call, or a message."""


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """What the generated kamailio.cfg tells the edge, as JSON in the define WHENCE_EDGE."""

    directory: Path
    domain: str
    answer_ms: int
    """How long a registrar may take to answer before the agent is told that it did not."""
    own: OwnSockets
    """The sockets of the edge, and what it advertises."""
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def parse(cls, text: str) -> EdgeSettings:
        """Read the define; KeyError or ValueError if it was not written by `whence edge-config`."""
        values = json.loads(text)
        own = OwnSockets.of([TransportAddress.parse(socket) for socket in values["sockets"]])
        limits = Limits.parse(values["limits"], values["listen"])
        return cls(Path(values["directory"]), values["domain"], values["answer_ms"], own, limits)


class EdgeHandlers(DialogHandlers):
    """The handlers that kamailio.cfg calls, in each of its worker processes."""

    def __init__(self, ksr: Ksr, settings: EdgeSettings) -> None:
        super().__init__(ksr, settings.directory, settings.own, settings.limits)
        self._settings = settings

    @answers
    def ksr_initial(self, _message: object) -> int:
        """Answer the question that all this is for, and say where the call goes.

        Returns GO_ON or TO_USER where it is a trunk's: its target is the Request-URI then.
        """
        ksr, now, message = self.ksr, time.time(), self._at_hand
        asked = self._asked(message)
        method, call_id = self._text(ksr.kx.get_method), self._text(ksr.kx.get_callid)
        if asked is None or method is None or call_id is None:
            return self.answer(400, "Bad Request")
        known = self._known.get(asked, now) if method in RELAYED else None
        answer = known or self._decide(asked, method, call_id, now)
        if answer is None:
            return ANSWERED
        if answer.says_called and asked.p_called_party_id is not None:
            ksr.hdr.remove("P-Called-Party-ID")
        ksr.hdr.append(answer.headers)
        if method == "INVITE":
            user = answer.target if answer.is_ours else ""
            self._begin(message, call_id, TransportAddress.parse(asked.source), answer.trunk, user)
        ksr.seturi(answer.target)
        self._tell(answer.told, method, call_id, now, known=known is not None)
        return TO_USER if answer.is_ours else GO_ON

    @answers
    def ksr_inside(self, _message: object) -> int:
        """Do what the agent asks, if it is the agent: send its REGISTER or its keep-alive on, or
        say that we live.
        """
        ksr = self.ksr
        method, cseq = ksr.kx.get_method(), str(ksr.pv.get("$cs"))
        call_id = self._text(ksr.kx.get_callid) or ""
        next_hop = self._text(lambda: ksr.hdr.get(stamp.NEXT_HOP)) or ""
        socket = self._text(lambda: ksr.hdr.get(stamp.SOCKET)) or ""
        expected = stamp.request_seal(
            self._directory.meta(INSIDE_KEY), method, call_id, cseq, next_hop, socket
        )
        if not mac.is_same(expected, self._text(lambda: ksr.hdr.get(stamp.KEY)) or ""):
            return self.answer(403, "Forbidden")
        if method == "OPTIONS" and not next_hop:
            return self.answer(200, "OK")
        where, _, name = next_hop.partition(stamp.NAME_PARAM)
        if name:
            self._name_peer(name)
        self._strip()
        ksr.setdsturi(where)
        ksr.pv.sets("$fs", socket)
        ksr.tm.t_on_reply(INSIDE_REPLY)
        ksr.tm.t_set_fr(0, KEEPALIVE_MS if method == "OPTIONS" else self._settings.answer_ms)
        if ksr.tm.t_relay() < 0:
            ksr.sl.sl_reply_error()  # the agent tells its reason
        return ANSWERED

    @survives
    def ksr_reply_inside(self, _message: object) -> int:
        """Stamp a reply to a request of the agent's with where it really came from.

        A stamp that came with the reply is somebody else's word, and goes. What went over TLS is
        believed only from a certificate for the name that was asked; else the stamp says why not.
        """
        ksr = self.ksr
        self._strip()
        source, status = self._source(), ksr.kx.get_status()
        name = ksr.pv.get(PEER_NAME)
        distrust = "" if name is None else self._distrust(source, str(name))
        if distrust and status >= 200 and source.transport is Transport.TLS:
            # It may have been opened for another name at the same place: not for this one again.
            ksr.tcpops.tcp_close_connection_id(int(ksr.pv.get("$conid") or 0))
        seal = stamp.reply_seal(
            self._directory.meta(INSIDE_KEY),
            str(ksr.kx.get_callid()),
            str(ksr.pv.get("$cs")),
            status,
            "" if distrust else str(source),
            distrust,
        )
        header = stamp.DISTRUST if distrust else stamp.SOURCE
        ksr.hdr.append(f"{header}: {distrust or source}\r\n")
        ksr.hdr.append(f"{stamp.KEY}: {seal}\r\n")
        return GO_ON

    @answers
    def ksr_register(self, _message: object) -> int:
        """Let a local user's phone in: digest with the directory's HA1, contacts to usrloc."""
        ksr, domain, source = self.ksr, self._settings.domain, self._source()
        if self._is_blocked(source):
            return ANSWERED  # without an answer: a guesser waits for it
        name = self._text(ksr.kx.gete_tuser)
        if not name or not ksr.is_myself_turi():
            self._count_refused()
            return self.answer(403, "Forbidden")
        ha1 = self._directory.user_ha1(name, domain)
        # A name that is not there is checked, and challenged, like one that is: neither the answer
        # nor the time that it takes tells which are.
        checked = ksr.auth.pv_auth_check(domain, ha1 or NOBODYS_HA1, HA1_GIVEN, 0)
        if ha1 is None or checked < 0 or self._text(ksr.kx.gete_au) != name:
            stale = SAY_STALE if checked in NONCE_STALE else 0
            ksr.auth.auth_challenge(domain, QOP_AUTH | stale)
            if checked == WRONG_PASSWORD or (checked > 0 and ha1 is None):
                self._wrong_password(source, name, time.time())
            self._count_refused()
            return ANSWERED
        self._registered(source)
        ksr.auth.consume_credentials()
        ksr.nathelper.fix_nated_register()
        if ksr.registrar.save(LOCATION, 0) < 0:
            ksr.sl.sl_reply_error()
        return ANSWERED

    # What the handlers above are made of.

    def _name_peer(self, name: str) -> None:
        """Say who must be at the other end of the TLS connection by which the request goes."""
        ksr = self.ksr
        ksr.pv.sets(PEER_NAME, name)
        if not tls_identity.is_literal(name):  # RFC 6066 3: SNI bears DNS names only
            ksr.pv.sets(SERVER_NAME, name)
        if any(ksr.hdr.get(header) for header in ("Authorization", "Proxy-Authorization")):
            # They go over a connection that is there, whose other end was believed, or not at all.
            ksr.set_forward_no_connect()

    def _distrust(self, source: TransportAddress, name: str) -> str:
        """Why whoever answered over TLS is not `name`; nothing if it is."""
        if source.transport is not Transport.TLS:
            return f"what was asked over TLS was answered over {source.transport}"
        get = self.ksr.pv.get
        uri = get("$tls_peer_san_uri")
        if str(uri).lower() == f"sip:{name}":
            return ""
        alternatives = [get("$tls_peer_san_hostname"), uri, get("$tls_peer_san_ip")]
        named = [str(one) for one in alternatives if one is not None]
        pem = str(get("$tls_peer_raw_cert"))
        if tls_identity.is_for(pem, name, has_alternatives=bool(named)):
            return ""
        shown = named[0] if named else str(get("$tls_peer_subject_cn"))
        printable = "".join(c for c in shown if c.isprintable())[:200]
        return f"its certificate is for {printable}, not {name}"

    def _decide(
        self, asked: CacheKey, method: str, call_id: str, now: float
    ) -> CachedDecision | None:
        """Decide what this worker has not decided before; None where the answer is no call's."""
        ksr, request = self.ksr, read(asked)
        if request is not None and self._has_other_headers(now):
            asked = self._asked(self._at_hand) or asked
            request = read(asked)
        if request is None:
            self.answer(400, "Bad Request")
            return None
        decision, evidence = self._directory.decide(request, now)
        said = decisions.lasting(decision, request.source, *asked[1:])
        if isinstance(decision, Identified) and method in RELAYED:
            trunk = decision.trunk
            number = dialled(request, trunk, evidence)
            target = fill(trunk.target, number)
            is_ours = bool(ksr.is_myself(target))
            headers = f"{stamp.TRUNK}: {trunk.id}\r\n{stamp.SOURCE}: {request.source}\r\n"
            called = f"sip:{escape_user(number)}@{self._settings.domain}"
            says_called = is_ours and bare(number) is not None
            if says_called:  # his phone's own Contact will be the Request-URI: RFC 7315 4.2
                headers += f"P-Called-Party-ID: <{called}>\r\n"
            answer = CachedDecision(
                trunk.id,
                decision.rule,
                headers,
                target,
                is_ours,
                evidence.good_until(now),
                said,
                says_called,
            )
            self._known.keep(asked, answer)
            return answer
        if method == "OPTIONS" and not isinstance(decision, Unknown):
            self.answer(200, "OK")
        elif not isinstance(decision, Identified):
            self.answer(403, "Forbidden")
        else:
            ksr.hdr.append_to_reply(f"Allow: {', '.join(sorted(RELAYED))}\r\n")
            self.answer(405, "Method Not Allowed")
        self._tell(said, decisions.method_told(method), call_id, now, known=False)
        if isinstance(decision, Unknown):
            self._count_refused()
        return None


def fill(target: str, number: str) -> str:
    """Write the called number into a target's `{number}`, escaped so that it stays a user part."""
    if not number:
        target = target.replace("{number}@", "")  # `sip:@host` is no URI
    return target.replace("{number}", escape_user(number))
