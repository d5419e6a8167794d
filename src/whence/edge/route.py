"""What is asked of the edge: kamailio.cfg does what any proxy does, and asks here what only Whence
knows. Whose call is this? Is that the agent, and what does it want? Whose phone registers?

Two rules of the house (measured on 5.6): a handler that raises leaves its caller without an answer,
and one that returns anything but an int breaks the *next* message of that worker. `answers` and
`survives` see to both. Headers whose bytes are not UTF-8 are normal traffic; they count as not
there.
"""

from __future__ import annotations

import json
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

LOCATION = "location"
"""Kamailio's table of the users' contacts."""

INSIDE_REPLY = "INSIDE"
"""The reply route of the agent's own requests; it runs only for replies of their transactions."""

# What a handler returns to kamailio.cfg.
ANSWERED = 0  # ends kamailio.cfg's routing: there is nothing more to do
NO = -1
GO_ON = 1
TO_USER = 2  # the call goes to a user of ours: kamailio.cfg looks for his phones

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
    answer_ms: int
    """How long a registrar may take to answer before the agent is told that it did not."""

    @classmethod
    def parse(cls, text: str) -> Settings:
        """Read the define; KeyError or ValueError if it was not written by `whence edge-config`."""
        values = json.loads(text)
        return cls(Path(values["directory"]), values["domain"], values["answer_ms"])


Handler = Callable[["Edge", object], int]


def answers(handler: Handler) -> Handler:
    """Make a handler of requests that always answers: a bug is a 500 and one log line, and then
    kamailio.cfg has nothing more to do.
    """

    @wraps(handler)
    def answering(edge: Edge, message: object) -> int:
        try:
            return handler(edge, message)
        except DirectoryUnavailableError as error:
            edge.ksr.err(f"whence: {error}\n")
            edge.answer(503, "Service Unavailable")
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
            edge.ksr.err(f"whence: {handler.__name__}: {_one_line(error)}\n")
            edge.answer(500, "Server Internal Error")
        return ANSWERED

    return answering


def survives(handler: Handler) -> Handler:
    """Make a handler of replies that lets the reply pass whatever happens."""

    @wraps(handler)
    def surviving(edge: Edge, message: object) -> int:
        try:
            return handler(edge, message)
        except Exception as error:  # noqa: BLE001 - an unstamped reply teaches nobody anything
            edge.ksr.err(f"whence: {handler.__name__}: {_one_line(error)}\n")
        return GO_ON

    return surviving


class Edge:
    """The handlers that kamailio.cfg calls, in each of its worker processes."""

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
    def ksr_initial(self, _message: object) -> int:
        """Answer the question that all this is for, and say where the call goes.

        Returns GO_ON or TO_USER where it is a trunk's: its target is the Request-URI then.
        """
        ksr, now, words = self.ksr, time.time(), self._words()
        asked = None if words is None else self._asked(words)
        method, call_id = self._text(ksr.kx.get_method), self._text(ksr.kx.get_callid)
        if asked is None or method is None or call_id is None:
            return self.answer(400, "Bad Request")
        known = self._known.get(asked, now) if method in RELAYED else None
        answer = known or self._decide(asked, method, call_id, now)
        if answer is None:
            return ANSWERED
        ksr.hdr.append(answer.headers)
        cookie = stamp.cookie(self._key_of_dialogs(), call_id, now)
        ksr.rr.record_route_params(COOKIE + cookie)
        ksr.seturi(answer.target)
        self._tell(answer.told, method, call_id, now, known=known is not None)
        return TO_USER if answer.is_ours else GO_ON

    @answers
    def ksr_in_dialog(self, _message: object) -> int:
        """Whether the request belongs to a call that we let in. A To tag is quickly made up.

        The first Route must be ours, and have the cookie of this very call: another's Route with
        our cookie would have us send the request wherever that one says.
        """
        ksr, words = self.ksr, self._words()
        if words is None:
            return self.answer(400, "Bad Request")
        call_id = self._text(ksr.kx.get_callid)
        if call_id is None or "\nroute" not in words:
            return NO  # asking 5.6 for a $route_uri that is not there writes a log line
        route = self._text(lambda: str(ksr.pv.get("$route_uri"))) or ""
        before, _, rest = route.partition(COOKIE)
        if not stamp.vouches(self._key_of_dialogs(), rest, call_id, time.time()):
            return NO
        place = before, rest[stamp.COOKIE_LENGTH :]
        if place not in self._our_routes:
            if not ksr.is_myself(route):
                return NO
            if len(self._our_routes) < OUR_ROUTES_LIMIT:
                self._our_routes.add(place)
        return GO_ON

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
        if not stamp.same(expected, self._text(lambda: ksr.hdr.get(stamp.KEY)) or ""):
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
        ksr, domain = self.ksr, self._settings.domain
        name = self._text(ksr.kx.gete_tuser)
        if not name or not ksr.is_myself_turi():
            return self.answer(403, "Forbidden")
        ha1 = self._directory.user_ha1(name, domain)
        # A name that is not there is checked, and challenged, like one that is: neither the answer
        # nor the time that it takes tells which are.
        checked = ksr.auth.pv_auth_check(domain, ha1 or NOBODYS_HA1, HA1_GIVEN, 0)
        if ha1 is None or checked < 0 or self._text(ksr.kx.gete_au) != name:
            stale = SAY_STALE if checked == NONCE_STALE else 0
            ksr.auth.auth_challenge(domain, QOP_AUTH | stale)
            return ANSWERED
        ksr.auth.consume_credentials()
        ksr.nathelper.fix_nated_register()
        if ksr.registrar.save(LOCATION, 0) < 0:
            ksr.sl.sl_reply_error()
        return ANSWERED

    def answer(self, status: int, phrase: str) -> int:
        """Answer the request at hand, if it is one that is answered; returns ANSWERED."""
        if self._text(self.ksr.kx.get_method) != "ACK":
            self.ksr.sl.send_reply(status, phrase)
        return ANSWERED

    # What the handlers above are made of.

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

    def _decide(self, asked: Asked, method: str, call_id: str, now: float) -> Answer | None:
        """Decide what this worker has not decided before; None where the answer is no call's."""
        ksr, request = self.ksr, read(asked)
        if request is None:
            self.answer(400, "Bad Request")
            return None
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
            return answer
        if method == "OPTIONS" and not isinstance(decision, Unknown):
            self.answer(200, "OK")
        elif not isinstance(decision, Identified):
            self.answer(403, "Forbidden")
        else:
            ksr.hdr.append_to_reply(f"Allow: {', '.join(sorted(RELAYED))}\r\n")
            self.answer(405, "Method Not Allowed")
        self._tell(said, told.method_told(method), call_id, now, known=False)
        return None

    def _words(self) -> str | None:
        """The whole message in small letters, and what only we may say taken off.

        None if it is too long, or if one of our headers hides in it: it goes no further. Of a
        message that is not UTF-8 each byte is one character.
        """
        try:
            words = self.ksr.kx.get_msgbuf().lower()
        except UnicodeDecodeError:
            digits = self.ksr.pv.get(MESSAGE_IN_HEX)
            if not digits:
                return None
            words = bytes.fromhex(str(digits)).decode("latin-1").lower()
        if stamp.PREFIX in words:
            if smuggles(words):
                return None
            self._strip()
        return words

    def _strip(self) -> None:
        """Take off what only we may say."""
        for header in OURS:
            self.ksr.hdr.remove(header)

    def _source(self) -> Source:
        kx = self.ksr.kx
        return Source(
            Transport(kx.get_proto()), canonical_ip(kx.get_srcip()), int(kx.get_srcport())
        )

    def _asked(self, words: str) -> Asked | None:
        """Take from the request what identification looks at; None without a readable R-URI."""
        ksr, text = self.ksr, self._text
        ruri = text(ksr.kx.get_ruri)
        if ruri is None:
            return None
        called = None
        if "p-called-party-id" in words:
            called = text(lambda: ksr.hdr.get("P-Called-Party-ID"))
        return Asked(ksr.kx.get_srcaddr_sock(), ruri, text(ksr.kx.get_turi), called)

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
