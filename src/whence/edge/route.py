"""What the edge does with each SIP message. Kamailio is the engine; this says what is to be done.

A request's way: guard; the agent's own, on the inside socket; inside a dialog; CANCEL and
retransmissions; users' REGISTER; and for the rest the question that Whence is for: whence?

Two rules of the house (measured on 5.6): a route that raises leaves its caller without an answer,
and one that returns anything but an int breaks the *next* message of that worker. `answers` sees
to both. Headers whose bytes are not UTF-8 are normal traffic; they count as not there.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

from whence.core import stamp, told
from whence.core.address import Source, Transport, canonical_ip
from whence.core.directory import DIALOG_KEY, GENERATION_FILE, INSIDE_KEY
from whence.core.identify import Identified, Request, Unknown
from whence.core.uri import Uri, escape_user
from whence.edge import certificate
from whence.edge.directory import Directory, DirectoryUnavailableError
from whence.edge.known import Answer, Asked, Generation, Known
from whence.edge.ksr import Ksr
from whence.edge.tell import Tell

CALL_FAILURE = "ksr_failure_call"
"""The failure route of calls."""

LOCATION = "location"
"""Kamailio's table of the users' contacts."""

INSIDE_REPLY = "ksr_reply_inside"
"""The reply route of the agent's own requests; it runs only for replies of their transactions."""

SANITY_MESSAGE_CHECKS = 17895  # all that Kamailio 5.6 and 6.1 have for headers and their parts
SANITY_URI_CHECKS = 7  # Request-URI, From and To parse
HOPS_LIMIT = 10

PEER_NAME = "$avp(whence_name)"
"""Of the agent's request over TLS, kept for its replies: for whom the certificate must be."""

SERVER_NAME = "$xavp(tls=>server_name)"
"""What Kamailio's tls names (SNI) when it opens a connection."""

KEEPALIVE_MS = 4_000
"""How long the agent's OPTIONS to a registrar is repeated; after that it is missed."""

COOKIE = f";{stamp.COOKIE_PARAM}="

OUR_ROUTES_LIMIT = 64
"""How many of our own Record-Routes are remembered: one for each socket and transport."""

HA1_GIVEN = 1  # auth.pv_auth_check: what is handed in is an HA1, not a password
QOP_AUTH = 1  # auth.auth_challenge: offer qop="auth", so that responses count their use

SAY_STALE = 16  # auth.auth_challenge: the phone need not ask its human, the nonce was used or old
NONCE_STALE = -4  # auth.pv_auth_check
NOBODYS_HA1 = "0" * 32

SCANNERS = re.compile(
    "friendly-scanner|sipvicious|sipcli|sip-scan|sundayddr|pplsip", re.ASCII | re.IGNORECASE
)
"""User-Agents of tools that look for doors; they get no answer at all."""

MESSAGE_IN_HEX = "$(mb{s.encode.hexa})"

OURS = (stamp.TRUNK, stamp.SOURCE, stamp.KEY, stamp.NEXT_HOP, stamp.SOCKET, stamp.DISTRUST)
"""Headers that only Whence writes: whoever else does, they go no further."""

RELAYED = frozenset({"INVITE", "MESSAGE"})
"""What a trunk may begin: a call, or a message."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the generated kamailio.cfg tells the edge, as JSON in the define WHENCE_EDGE."""

    directory: Path
    domain: str
    inside_ip: str
    inside_port: int
    answer_ms: int
    """How long a registrar may take to answer before the agent is told that it did not."""

    @classmethod
    def parse(cls, text: str) -> Settings:
        """Read the define; KeyError or ValueError if it was not written by `whence edge-config`."""
        values = json.loads(text)
        return cls(
            Path(values["directory"]),
            values["domain"],
            values["inside_ip"],
            values["inside_port"],
            values["answer_ms"],
        )


Route = Callable[["Edge", object], None]


def answers(route: Route) -> Callable[[Edge, object], int]:
    """Make a request route that always answers: a bug is a 500 and one log line; returns 1."""

    @wraps(route)
    def answering(edge: Edge, message: object) -> int:
        try:
            route(edge, message)
        except DirectoryUnavailableError as error:
            edge.ksr.err(f"whence: {error}\n")
            edge.ksr.sl.send_reply(503, "Service Unavailable")
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
            edge.ksr.err(f"whence: {route.__name__}: {_one_line(error)}\n")
            edge.ksr.sl.send_reply(500, "Server Internal Error")
        return 1

    return answering


def survives(route: Route) -> Callable[[Edge, object], int]:
    """Make a reply route that lets the reply pass whatever happens; returns 1."""

    @wraps(route)
    def surviving(edge: Edge, message: object) -> int:
        try:
            route(edge, message)
        except Exception as error:  # noqa: BLE001 - an unstamped reply teaches nobody anything
            edge.ksr.err(f"whence: {route.__name__}: {_one_line(error)}\n")
        return 1

    return surviving


class Edge:
    """The handlers that Kamailio calls, in each of its worker processes."""

    def __init__(self, ksr: Ksr, settings: Settings) -> None:
        self.ksr = ksr
        self._settings = settings
        self._directory = Directory(settings.directory)
        self._known = Known(Generation(settings.directory.with_name(GENERATION_FILE)))
        self._tell = Tell(settings.directory.with_name(told.SOCKET_FILE))
        self._dialog_key: str | None = None
        self._our_routes: set[tuple[str, str]] = set()
        """Routes that are ours, as they stand before and after the cookie."""

    def child_init(self, _rank: int) -> int:
        """Nothing is opened here: what a worker needs, it opens at its first request."""
        return 0

    @answers
    def ksr_request_route(self, _message: object) -> None:
        """Each request comes here first."""
        ksr = self.ksr
        if not self._passes():
            return
        if self._on_inside_socket():
            self._from_agent()
            return
        ksr.force_rport()
        method = self._text(ksr.kx.get_method)
        if method is None:
            ksr.sl.send_reply(400, "Bad Request")
        elif method != "CANCEL" and ksr.siputils.has_totag() > 0:
            self._in_dialog(method)
        elif self._is_scanner():
            return
        elif method == "CANCEL":
            self._cancel()
        elif method == "ACK":
            self._stray_ack()
        elif ksr.tm.t_check_trans() == 0:
            return  # a retransmission: the answer that it had has been sent again
        elif method == "REGISTER":
            self._register_user()
        else:
            self._initial(method)

    @survives
    def ksr_reply_inside(self, _message: object) -> None:
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

    @survives
    def ksr_failure_call(self, _message: object) -> None:
        """A target's 503 speaks of the target; ours would say the edge is down (RFC 3261 16.7)."""
        if self.ksr.tm.t_check_status("503") > 0:
            self.ksr.tm.t_reply(500, "Server Internal Error")

    # The way of a request, in the order of `ksr_request_route`.

    def _passes(self) -> bool:
        """Whether it is a SIP request, and has not gone round in circles."""
        ksr = self.ksr
        if ksr.maxfwd.process_maxfwd(HOPS_LIMIT) < 0:
            ksr.sl.send_reply(483, "Too Many Hops")
            return False
        # Where it fails, it has answered.
        return ksr.sanity.sanity_check(SANITY_MESSAGE_CHECKS, SANITY_URI_CHECKS) > 0

    def _is_scanner(self) -> bool:
        agent = self._text(self.ksr.kx.gete_ua)
        return bool(agent and SCANNERS.search(agent))

    def _on_inside_socket(self) -> bool:
        kx, settings = self.ksr.kx, self._settings
        return (
            int(kx.get_rcvport()) == settings.inside_port and kx.get_rcvip() == settings.inside_ip
        )

    def _from_agent(self) -> None:
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
        if not stamp.same(expected, self._text(lambda: ksr.hdr.get(stamp.KEY)) or ""):
            ksr.sl.send_reply(403, "Forbidden")
            return
        if method == "OPTIONS" and not next_hop:
            ksr.sl.send_reply(200, "OK")
            return
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

    def _name_peer(self, name: str) -> None:
        """Say who must be at the other end of the TLS connection by which the request goes."""
        ksr = self.ksr
        ksr.pv.sets(PEER_NAME, name)
        if not certificate.is_literal(name):  # RFC 6066 3: SNI bears DNS names only
            ksr.pv.sets(SERVER_NAME, name)
        if any(ksr.hdr.get(header) for header in ("Authorization", "Proxy-Authorization")):
            # They go over a connection that is there, whose other end was believed, or not at all.
            ksr.set_forward_no_connect()

    def _distrust(self, source: Source, name: str) -> str:
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
        if certificate.is_for(pem, name, has_alternatives=bool(named)):
            return ""
        shown = named[0] if named else str(get("$tls_peer_subject_cn"))
        printable = "".join(c for c in shown if c.isprintable())[:200]
        return f"its certificate is for {printable}, not {name}"

    def _cancel(self) -> None:
        if self.ksr.tm.t_check_trans() > 0:
            self._relay()
        else:
            self.ksr.sl.send_reply(481, "Call/Transaction Does Not Exist")

    def _stray_ack(self) -> None:
        """Let an ACK without a dialog end the transaction it belongs to; it is never answered."""
        if self.ksr.tm.t_check_trans() > 0:
            self._relay()

    def _in_dialog(self, method: str) -> None:
        """Pass on what belongs to a call that we let in, and only that.

        A To tag is quickly made up. The cookie in our own Record-Route is not.
        """
        ksr, words = self.ksr, self._words()
        if words is None or smuggles(words):
            if method != "ACK":
                ksr.sl.send_reply(400, "Bad Request")
        elif self._vouched(words):
            if ksr.rr.loose_route() > 0:
                self._strip(words)
                self._relay()
                return
        elif self._is_scanner():
            return
        elif method == "ACK":
            self._stray_ack()
        if method != "ACK":
            ksr.sl.send_reply(481, "Call/Transaction Does Not Exist")

    def _vouched(self, words: str) -> bool:
        """Whether the first Route is ours, and has the cookie of this very call.

        Another's Route with our cookie would have us send the request wherever that one says.
        """
        ksr = self.ksr
        call_id = self._text(ksr.kx.get_callid)
        if call_id is None or "\nroute" not in words:
            return False  # asking 5.6 for a $route_uri that is not there writes a log line
        route = self._text(lambda: str(ksr.pv.get("$route_uri"))) or ""
        before, _, rest = route.partition(COOKIE)
        if not stamp.vouches(self._key_of_dialogs(), rest, call_id, time.time()):
            return False
        place = before, rest[stamp.COOKIE_LENGTH :]
        if place not in self._our_routes:
            if not ksr.is_myself(route):
                return False
            if len(self._our_routes) < OUR_ROUTES_LIMIT:
                self._our_routes.add(place)
        return True

    def _register_user(self) -> None:
        """Let a local user's phone in: digest with the directory's HA1, contacts to usrloc."""
        ksr, domain = self.ksr, self._settings.domain
        name = self._text(ksr.kx.gete_tuser)
        if not name or not ksr.is_myself_turi():
            ksr.sl.send_reply(403, "Forbidden")
            return
        ha1 = self._directory.user_ha1(name, domain)
        # A name that is not there is checked, and challenged, like one that is: neither the answer
        # nor the time that it takes tells which are.
        checked = ksr.auth.pv_auth_check(domain, ha1 or NOBODYS_HA1, HA1_GIVEN, 0)
        if ha1 is None or checked < 0 or self._text(ksr.kx.gete_au) != name:
            stale = SAY_STALE if checked == NONCE_STALE else 0
            ksr.auth.auth_challenge(domain, QOP_AUTH | stale)
            return
        ksr.auth.consume_credentials()
        ksr.nathelper.fix_nated_register()
        if ksr.registrar.save(LOCATION, 0) < 0:
            ksr.sl.sl_reply_error()

    def _initial(self, method: str) -> None:
        """Answer the question that all this is for, and send the call to its target."""
        ksr, now, words = self.ksr, time.time(), self._words()
        if words is None or smuggles(words):
            ksr.sl.send_reply(400, "Bad Request")
            return
        asked = self._asked(words)
        if asked is None:
            ksr.sl.send_reply(400, "Bad Request")
            return
        known = self._known.get(asked, now)
        if known is not None and method in RELAYED:
            self._deliver(known, words, method, now, known=True)
            return
        request = read(asked)
        if request is None:
            ksr.sl.send_reply(400, "Bad Request")
            return
        decision, evidence = self._directory.decide(request, now)
        said = told.lasting(decision, request.source, asked.ruri, asked.to, asked.p_called_party_id)
        if isinstance(decision, Identified) and method in RELAYED:
            trunk = decision.trunk
            target = fill(trunk.target, request)
            answer = Answer(
                f"{stamp.TRUNK}: {trunk.id}\r\n{stamp.SOURCE}: {request.source}\r\n",
                target,
                bool(ksr.is_myself(target)),
                evidence.good_until(now),
                said,
            )
            self._known.keep(asked, answer)
            self._deliver(answer, words, method, now, known=False)
            return
        if method == "OPTIONS" and not isinstance(decision, Unknown):
            ksr.sl.send_reply(200, "OK")
        elif not isinstance(decision, Identified):
            ksr.sl.send_reply(403, "Forbidden")
        else:
            ksr.hdr.append_to_reply(f"Allow: {', '.join(sorted(RELAYED))}\r\n")
            ksr.sl.send_reply(405, "Method Not Allowed")
        call_id = self._text(ksr.kx.get_callid) or ""
        self._tell(said, told.method_told(method), call_id, now, known=False)

    def _deliver(self, answer: Answer, words: str, method: str, now: float, *, known: bool) -> None:
        ksr = self.ksr
        call_id = self._text(ksr.kx.get_callid)
        if call_id is None:
            ksr.sl.send_reply(400, "Bad Request")
            return
        self._strip(words)
        if "\nroute" in words:
            ksr.hdr.remove("Route")
        ksr.hdr.append(answer.headers)
        ksr.rr.record_route_params(COOKIE + stamp.cookie(self._key_of_dialogs(), call_id, now))
        ksr.tm.t_on_failure(CALL_FAILURE)
        ksr.seturi(answer.target)
        if answer.is_ours and ksr.registrar.lookup(LOCATION) < 0:
            ksr.sl.send_reply(480, "Temporarily Unavailable")
        else:
            self._relay()
        self._tell(answer.told, method, call_id, now, known=known)

    # What the steps above share.

    def _relay(self) -> None:
        if self.ksr.tm.t_relay() < 0:
            self.ksr.sl.send_reply(500, "Server Internal Error")

    def _words(self) -> str | None:
        """The whole message in small letters, to see what is not in it; None if it is too long.

        One call tells of many headers that are not there, each of which would cost one. What is
        in it somewhere may still not be a header: that Kamailio is asked. Of a message that is not
        UTF-8 each byte is one character.
        """
        try:
            return self.ksr.kx.get_msgbuf().lower()
        except UnicodeDecodeError:
            digits = self.ksr.pv.get(MESSAGE_IN_HEX)
            return bytes.fromhex(digits).decode("latin-1").lower() if digits else None  # type: ignore[arg-type]

    def _strip(self, words: str | None = None) -> None:
        """Take off what only we may say; `words` where they have been read."""
        if words is None or stamp.PREFIX in words:
            for header in OURS:
                self.ksr.hdr.remove(header)

    def _source(self) -> Source:
        kx = self.ksr.kx
        return Source(
            Transport(kx.get_proto()), canonical_ip(kx.get_srcip()), int(kx.get_srcport())
        )

    def _asked(self, words: str) -> Asked | None:
        """Take from the request what identification looks at; None without a readable R-URI."""
        kx = self.ksr.kx
        ruri = self._text(kx.get_ruri)
        if ruri is None:
            return None
        called = None
        if "p-called-party-id" in words:
            called = self._text(lambda: self.ksr.hdr.get("P-Called-Party-ID"))
        return Asked(kx.get_srcaddr_sock(), ruri, self._text(kx.get_turi), called)

    def _key_of_dialogs(self) -> str:
        if self._dialog_key is None:
            self._dialog_key = self._directory.meta(DIALOG_KEY)
        return self._dialog_key

    @staticmethod
    def _text(read: Callable[[], str | None]) -> str | None:
        try:
            return read()
        except UnicodeDecodeError:
            return None


def smuggles(words: str) -> bool:
    """Whether one of our headers stands at the begin of what is no line to Kamailio, but may be one
    to the target: after a CR alone, say, or another control character, or in a continued line.
    """
    # No regular expression: a stranger's sixty thousand tabs must not cost their square.
    for before in words.split(stamp.PREFIX)[:-1]:
        line = before.rstrip(" ")
        last = line[-1:]
        if last and not " " <= last <= "~" and (last != "\n" or line != before):
            return True
    return False


def read(asked: Asked) -> Request | None:
    """Make of a request's own words what identification takes; None where its R-URI is no URI."""
    ruri = Uri.parse(asked.ruri)
    if ruri is None:
        return None
    called = asked.p_called_party_id
    return Request(
        source=Source.parse(asked.source),
        ruri=ruri,
        to=None if asked.to is None else Uri.parse(asked.to),
        p_called_party_id=None if called is None else Uri.of_header(called),
    )


def fill(target: str, request: Request) -> str:
    """Write the called number into a target's `{number}`, escaped so that it stays a user part."""
    if "{number}" not in target:
        return target
    number = request.numbers[0][1] if request.numbers else request.ruri.user
    return target.replace("{number}", escape_user(number))


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
