"""The module KSR of the fake Kamailio: the protocols of `whence.edge.ksr`, and their refusals.

Like the real one it raises SystemError for wrong arguments, and UnicodeDecodeError for bytes that
are not UTF-8. Stricter than the real one, it has only the pseudo-variables that the edge reads.
"""

import inspect
import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from tests.contract.fake.kamailio import FakeKamailio, Work
from tests.contract.fake.location import credentials
from tests.contract.fake.message import Sip, Uri, header_tag, header_uri
from whence.edge import ksr as edge

P = ParamSpec("P")
T = TypeVar("T")


def call(function: Callable[P, T]) -> Callable[P, T]:
    """Take arguments as Kamailio does: by position, of exactly their types, and no others."""
    wanted = [p.annotation for p in list(inspect.signature(function).parameters.values())[1:]]

    @wraps(function)
    def calling(*args: P.args, **named: P.kwargs) -> T:
        given = args[1:]
        right = len(given) == len(wanted) and not named
        if not right or not all(map(_fits, given, wanted)):
            raise SystemError(f"{function.__name__} returned a result with an exception set")
        return function(*args, **named)

    return calling


def _fits(value: object, type_: type) -> bool:
    if isinstance(value, str) and type_ is str:
        return "\0" not in value and _encodes(value)
    return isinstance(value, type_)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Part:
    def __init__(self, kamailio: FakeKamailio) -> None:
        self._kamailio = kamailio

    @property
    def _work(self) -> Work:
        return self._kamailio.work

    @property
    def _message(self) -> Sip:
        return self._kamailio.work.message


class FakePv(_Part):
    @call
    def get(self, name: str, /) -> str | int | None:
        if name == "$cs":
            return self._message.cseq[0]
        if name == "$(mb{s.encode.hexa})":
            return self._message.as_it_came.hex()
        if name == "$avp(whence_name)":
            return None  # nothing goes over TLS here
        if name == "$route_uri":
            route = self._message.first(b"route")
            return None if route is None else header_uri(route).decode()
        raise NotImplementedError(name)

    @call
    def sets(self, name: str, value: str, /) -> bool:
        if name != "$fs":
            raise NotImplementedError(name)
        host, _, port = value.removeprefix("udp:").rpartition(":")
        if (host, int(port)) in self._kamailio.sockets:
            self._work.socket = (host, int(port))
        return True


class FakeKx(_Part):
    @call
    def get_def(self, name: str, /) -> str | None:
        return self._kamailio.definition if name == "WHENCE_EDGE" else None

    @call
    def get_method(self) -> str:
        message = self._message
        return (message.cseq[1] if message.is_reply else message.method).decode()

    @call
    def get_ruri(self) -> str:
        return self._work.ruri.decode()

    @call
    def get_turi(self) -> str | None:
        return header_uri(self._message[b"to"]).decode()

    @call
    def gete_tuser(self) -> str:
        uri = Uri.parse(header_uri(self._message[b"to"]))
        return uri.user.decode() if uri else ""

    @call
    def get_callid(self) -> str | None:
        return self._message[b"call-id"].decode()

    @call
    def get_proto(self) -> str:
        return "udp"

    @call
    def get_msgbuf(self) -> str:
        return self._message.as_it_came.decode()

    @call
    def get_srcaddr_sock(self) -> str:
        ip, port = self._message.received
        return f"udp:{ip}:{port}"

    @call
    def get_srcip(self) -> str:
        return self._message.received[0]

    @call
    def get_srcport(self) -> int:
        return self._message.received[1]

    @call
    def get_rcvip(self) -> str:
        return self._message.socket[0]

    @call
    def get_rcvport(self) -> int:
        return self._message.socket[1]

    @call
    def gete_ua(self) -> str:
        return (self._message.first(b"user-agent") or b"").decode()

    @call
    def gete_au(self) -> str:
        return credentials(self._message).get("username", "")

    @call
    def get_status(self) -> int:
        return self._message.status


class FakeHdr(_Part):
    @call
    def get(self, name: str, /) -> str | None:
        value = self._message.first(name.encode())
        return None if value is None else value.decode()

    @call
    def append(self, line: str, /) -> int:
        self._work.appended.extend(map(_field, line.splitlines(keepends=True)))
        return 1

    @call
    def remove(self, name: str, /) -> int:
        self._work.removed.append(name.encode())
        return 1 if self._message.first(name.encode()) is not None else -1

    @call
    def append_to_reply(self, line: str, /) -> int:
        self._work.in_reply.append(_field(line))
        return 1


class FakeTm(_Part):
    @call
    def t_check_trans(self) -> int:
        return self._kamailio.check_trans()

    @call
    def t_relay(self) -> int:
        return self._kamailio.relay()

    @call
    def t_on_reply(self, route: str, /) -> int:
        if self._kamailio.handler(route) is None:
            raise NotImplementedError(f"no reply route {route}: its replies would be lost")
        self._work.on_reply = route
        return 1

    @call
    def t_on_failure(self, route: str, /) -> int:
        if self._kamailio.handler(route) is None:
            raise NotImplementedError(f"no failure route {route}")
        self._work.on_failure = route
        return 1

    @call
    def t_check_status(self, status: str, /) -> int:
        return 1 if re.search(status, str(self._kamailio.failed()[1].status)) else -1

    @call
    def t_reply(self, status: int, reason: str, /) -> int:
        return self._kamailio.answer_failed(status, reason)

    @call
    def t_set_fr(self, invite_ms: int, other_ms: int, /) -> int:
        return 1  # the fake's world has no clock: nobody in it is slow


class FakeSl(_Part):
    @call
    def send_reply(self, status: int, reason: str, /) -> int:
        return self._kamailio.send_reply(status, reason)

    @call
    def sl_reply_error(self) -> int:
        return self._kamailio.send_reply(500, "I'm terribly sorry, server error occurred")


class FakeRr(_Part):
    @call
    def record_route_params(self, params: str, /) -> int:
        self._work.rr_params += params
        self._work.record_route = True
        return 1

    @call
    def loose_route(self) -> int:
        routes = [r for value in self._message.all(b"route") for r in value.split(b",")]
        if not routes:
            return -1
        if not self._kamailio.is_myself(header_uri(routes[0])):
            self._work.next_hop = header_uri(routes[0])
            return 1
        self._work.routes_taken = 1
        self._work.next_hop = header_uri(routes[1]) if len(routes) > 1 else b""
        return 1


class FakeMaxfwd(_Part):
    @call
    def process_maxfwd(self, limit: int, /) -> int:
        value = self._message.first(b"max-forwards")
        if value is None:
            return 2
        return 1 if value.isdigit() and 0 < int(value) < 256 else -1


class FakeSanity(_Part):
    @call
    def sanity_check(self, message_checks: int, uri_checks: int, /) -> int:
        message, send_reply = self._message, self._kamailio.send_reply
        if not message.start.endswith(b" SIP/2.0"):
            send_reply(505, "Version Not Supported")
            return -1
        uris = [message.ruri, *(header_uri(message[n]) for n in (b"from", b"to"))]
        length = message.first(b"content-length")
        if (
            any(Uri.parse(uri) is None for uri in uris)
            or message.cseq[1] != message.method
            or (length is not None and int(length or 0) > len(message.body))
        ):
            send_reply(400, "Bad Request")
            return -1
        return 1


class FakeSiputils(_Part):
    @call
    def has_totag(self) -> int:
        return 1 if header_tag(self._message[b"to"]) else -1


class FakeAuth(_Part):
    @call
    def pv_auth_check(self, realm: str, password: str, flags: int, checks: int, /) -> int:
        if flags != 1:
            raise NotImplementedError("a password that is no HA1")
        return self._kamailio.auth.check(self._message, realm, password)

    @call
    def auth_challenge(self, realm: str, flags: int, /) -> int:
        if flags not in (1, 1 | 16):
            raise NotImplementedError("a challenge without qop")
        challenge = self._kamailio.auth.challenge(realm, stale=bool(flags & 16)).encode()
        self._work.in_reply.append((b"WWW-Authenticate", challenge))
        return self._kamailio.send_reply(401, "Unauthorized")

    @call
    def consume_credentials(self) -> int:
        self._work.removed.append(b"authorization")
        return 1


class FakeRegistrar(_Part):
    @call
    def save(self, table: str, flags: int, /) -> int:
        location = self._kamailio.location
        uri = Uri.parse(header_uri(self._message[b"to"]))
        if uri is None or not uri.user:
            return -1
        status = location.save(uri.user, self._message)
        if status == 200:
            self._work.in_reply += [(b"Contact", value) for value in location.listed(uri.user)]
        self._kamailio.send_reply(status, "OK" if status == 200 else "Bad Request")
        return 1 if status == 200 else -1

    @call
    def lookup(self, table: str, /) -> int:
        uri = Uri.parse(self._work.ruri)
        contacts = self._kamailio.location.of(uri.user) if uri else []
        if not contacts:
            return -1
        first, *self._work.more = contacts
        ip, port = first.received
        self._work.ruri, self._work.next_hop = first.uri, f"sip:{ip}:{port}".encode()
        return 1


class FakeNathelper(_Part):
    @call
    def fix_nated_register(self) -> int:
        return 1


class FakeTcpops(_Part):
    @call
    def tcp_close_connection_id(self, connection: int, /) -> int:
        raise NotImplementedError("a connection")


class FakeKsr(_Part):
    """The module itself."""

    def __init__(self, kamailio: FakeKamailio) -> None:
        super().__init__(kamailio)
        self.pv, self.kx, self.hdr = FakePv(kamailio), FakeKx(kamailio), FakeHdr(kamailio)
        self.tm, self.sl, self.rr = FakeTm(kamailio), FakeSl(kamailio), FakeRr(kamailio)
        self.maxfwd, self.sanity = FakeMaxfwd(kamailio), FakeSanity(kamailio)
        self.siputils, self.auth = FakeSiputils(kamailio), FakeAuth(kamailio)
        self.tcpops = FakeTcpops(kamailio)
        self.registrar, self.nathelper = FakeRegistrar(kamailio), FakeNathelper(kamailio)

    @call
    def err(self, line: str, /) -> None:
        self._kamailio.log.append(line)

    @call
    def info(self, line: str, /) -> None:
        self._kamailio.log.append(line)

    @call
    def seturi(self, uri: str, /) -> bool:
        self._work.ruri = uri.encode()
        return True

    @call
    def setdsturi(self, uri: str, /) -> bool:
        self._work.next_hop = uri.encode()
        return True

    @call
    def force_rport(self) -> bool:
        self._work.rport = True
        return True

    @call
    def set_forward_no_connect(self) -> bool:
        raise NotImplementedError("a connection")

    @call
    def is_myself(self, uri: str, /) -> bool:
        return self._kamailio.is_myself(uri.encode())

    @call
    def is_myself_turi(self) -> bool:
        return self._kamailio.is_myself(header_uri(self._message[b"to"]))


def _field(line: str) -> tuple[bytes, bytes]:
    found = re.fullmatch(r"([^:\r\n]+): ([^\r\n]*)\r\n", line)
    if found is None:
        raise NotImplementedError(f"a header line of another form: {line!r}")
    return found[1].encode(), found[2].encode()


def conforms(kamailio: FakeKamailio) -> edge.Ksr:
    """Return the fake as what the edge asks for: mypy holds the two to each other here."""
    return FakeKsr(kamailio)
