"""A raw SIP endpoint over UDP, and functions to make, forge and read messages.

None of it uses the product's code, so that a fault in its parser cannot hide in its tests.
"""

import hashlib
import re
import secrets
import select
import socket
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, groupby
from types import TracebackType
from typing import Self

from testkit.wait import PATIENCE_S

Headers = Iterable[tuple[str, str]]
Address = tuple[str, int]

_LONG_NAMES = {
    "c": "content-type",
    "f": "from",
    "i": "call-id",
    "l": "content-length",
    "m": "contact",
    "t": "to",
    "v": "via",
}
_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def _key(name: str) -> str:
    return _LONG_NAMES.get(name.lower(), name.lower())


@dataclass(frozen=True)
class Message:
    """A SIP message: headers in their order, values as on the wire.

    Bytes that are not UTF-8 survive (surrogateescape): ``bytes(message)`` is the original.
    """

    start_line: str
    headers: tuple[tuple[str, str], ...]
    body: str = ""
    source: Address | None = None

    @classmethod
    def parse(cls, data: bytes | str, source: Address | None = None) -> "Message":
        """Read one message, without header lines that have no colon."""
        text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
        head, _, body = text.replace("\r\n", "\n").partition("\n\n")
        start_line, *lines = re.sub(r"\n[ \t]+", " ", head).split("\n")
        fields = (line.partition(":") for line in lines if ":" in line)
        headers = tuple((name.strip(), value.strip()) for name, _, value in fields)
        return cls(start_line, headers, body, source)

    @property
    def is_reply(self) -> bool:
        return self.start_line.startswith("SIP/2.0 ")

    @property
    def status(self) -> int:
        """The status code; 0 for a request."""
        return int(self.start_line.split(" ", 2)[1]) if self.is_reply else 0

    @property
    def method(self) -> str:
        """The method of a request, or of the request that a reply answers."""
        return self["CSeq"].split()[-1] if self.is_reply else self.start_line.split(" ")[0]

    @property
    def request_uri(self) -> str:
        """The Request-URI; "" for a reply."""
        return "" if self.is_reply else self.start_line.split(" ")[1]

    @property
    def call_id(self) -> str:
        return self["Call-ID"]

    @property
    def contacts(self) -> list[str]:
        """All Contacts, also those that share a line. A comma in a URI is not understood."""
        return [one.strip() for value in self.all("Contact") for one in value.split(",")]

    def all(self, name: str) -> list[str]:
        """Return the values of all headers of this name, however spelled, in order."""
        return [value for header, value in self.headers if _key(header) == _key(name)]

    def get(self, name: str) -> str | None:
        """Return the first header's value, or None."""
        return next(iter(self.all(name)), None)

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(f"no {name} header in:\n{self}")
        return value

    def __str__(self) -> str:
        head = [self.start_line, *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join([*head, "", self.body])

    def __bytes__(self) -> bytes:
        return str(self).encode("utf-8", "surrogateescape")


def once(messages: Iterable[Message]) -> list[Message]:
    """Return the messages without immediate retransmissions, which a busy machine causes."""

    def key(message: Message) -> tuple[int, str, str, str]:
        return message.status, message.method, message["CSeq"], message["Via"]

    return [next(same) for _, same in groupby(messages, key)]


def place(address: Address) -> str:
    """Write `ip:port`; an IPv6 address in brackets. Port 0: the host alone."""
    if not address[1]:
        return address[0]
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"


def request(
    method: str,
    uri: str,
    via: Address,
    *,
    from_uri: str = "sip:tester@invalid",
    to_uri: str | None = None,
    from_tag: str | None = None,
    to_tag: str | None = None,
    call_id: str | None = None,
    cseq: int = 1,
    contact: str | None = None,
    headers: Headers = (),
    body: str = "",
    transport: str = "UDP",
) -> Message:
    """Make a valid request with this Via; tags, Call-ID and branch are random if not given."""
    to_parameter = f";tag={to_tag}" if to_tag else ""
    here, branch = place(via), f"z9hG4bK{secrets.token_hex(8)}"
    fields = [
        ("Via", f"SIP/2.0/{transport} {here};rport;branch={branch}"),
        ("Max-Forwards", "70"),
        ("From", f"<{from_uri}>;tag={from_tag or secrets.token_hex(4)}"),
        ("To", f"<{to_uri or uri}>{to_parameter}"),
        ("Call-ID", call_id or secrets.token_hex(10)),
        ("CSeq", f"{cseq} {method}"),
    ]
    if contact or method in ("INVITE", "SUBSCRIBE"):
        fields.append(("Contact", contact or f"<sip:tester@{here}>"))
    fields += [*headers, ("Content-Length", str(len(body.encode())))]
    return Message(f"{method} {uri} SIP/2.0", tuple(fields), body)


def reply(
    to: Message,
    status: int,
    reason: str = "Made By Hand",
    *,
    headers: Headers = (),
    to_tag: str | None = "rig",
) -> Message:
    """Make the reply to a request (RFC 3261 8.2.6)."""
    copied = [(name, to[name]) for name in ("From", "To", "Call-ID", "CSeq")]
    if to_tag and status > 100 and ";tag=" not in to["To"]:
        copied[1] = ("To", f"{to['To']};tag={to_tag}")
    paths = [(name, value) for name in ("Via", "Record-Route") for value in to.all(name)]
    fields = [*paths, *copied, *headers, ("Content-Length", "0")]
    return Message(f"SIP/2.0 {status} {reason}", tuple(fields))


def authorization(
    challenge: Message,
    method: str,
    uri: str,
    user: str,
    password: str,
    nonce_count: int = 1,
    only: str = "",
) -> tuple[str, str]:
    """Return the header that answers the first challenge of a 401 or 407 (RFC 7616, auth).

    *only*: the algorithm of the challenge to answer, instead of the first.
    """
    name = "WWW-Authenticate" if challenge.status == 401 else "Proxy-Authenticate"
    all_asked = [dict(re.findall(r'(\w+)="?([^",]*)"?', text)) for text in challenge.all(name)]
    asked = next(one for one in all_asked if only in ("", one.get("algorithm", "MD5")))
    algorithm = asked.get("algorithm", "MD5")

    def digest(*parts: str) -> str:
        return _HASHES[algorithm](":".join(parts).encode()).hexdigest()

    secret, what = digest(user, asked["realm"], password), digest(method, uri)
    given = {"username": user, "realm": asked["realm"], "nonce": asked["nonce"], "uri": uri}
    if "qop" in asked:
        count, cnonce = f"{nonce_count:08x}", secrets.token_hex(8)
        given["response"] = digest(secret, asked["nonce"], count, cnonce, "auth", what)
        tail = f', qop=auth, nc={count}, cnonce="{cnonce}"'
    else:
        given["response"] = digest(secret, asked["nonce"], what)
        tail = ""
    quoted = ", ".join(f'{key}="{value}"' for key, value in given.items())
    return (
        "Authorization" if challenge.status == 401 else "Proxy-Authorization",
        f"Digest {quoted}, algorithm={algorithm}{tail}",
    )


class Endpoint:
    """A UDP socket that sends any datagram, well-formed or not.

    It skips a request that it has read before (RFC 3261 17.2). A busy sender retransmits a request
    before it reads the answer.
    """

    transport: str = "udp"

    def __init__(self, ip: str, port: int = 0, bound: socket.socket | None = None) -> None:
        """Bind a socket, or use one that is already bound in another network namespace."""
        self._socket = bound or self._bound(ip, port)
        self._requests: set[tuple[Address, bytes]] = set()
        self.address: Address = self._socket.getsockname()[:2]

    @staticmethod
    def _bound(ip: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        made = socket.socket(family, socket.SOCK_DGRAM)
        try:
            made.bind((ip, port))
        except OSError:
            made.close()
            raise
        return made

    def send(self, what: Message | str | bytes, to: Address) -> None:
        """Send one datagram as it is, without changes of line ends."""
        if isinstance(what, str):
            what = what.encode("utf-8", "surrogateescape")
        self._socket.sendto(bytes(what), to)

    def waiting(self) -> list[bytes]:
        """Return the datagrams that have arrived, without waiting for more."""
        self._socket.setblocking(False)
        datagrams = []
        with suppress(BlockingIOError):
            while True:
                datagrams.append(self._socket.recv(65535))
        return datagrams

    def receive(self, within_s: float = PATIENCE_S) -> Message:
        """Return the next datagram as a message; AssertionError if none arrives."""
        return self.expect(lambda _: True, within_s, "a message")

    def receive_bytes(self, within_s: float = PATIENCE_S) -> bytes:
        """Return the next datagram; AssertionError if none arrives."""
        self._socket.settimeout(within_s)
        try:
            return self._socket.recv(65535)
        except TimeoutError:
            raise AssertionError(f"no datagram arrived within {within_s:g} s") from None

    def expect(
        self,
        wanted: Callable[[Message], bool],
        within_s: float = PATIENCE_S,
        what: str = "the message",
    ) -> Message:
        """Return the first message that is *wanted*, and drop those before it."""
        seen: list[str] = []
        give_up_at = time.monotonic() + within_s
        while (left_s := give_up_at - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                data, source = self._socket.recvfrom(65535)
            except TimeoutError:
                break
            if self._is_repeated(data, source):
                continue
            message = Message.parse(data, source)
            if wanted(message):
                return message
            seen.append(message.start_line)
        raise AssertionError(f"{what} did not come within {within_s:g} s; received: {seen}")

    def _is_repeated(self, data: bytes, source: Address) -> bool:
        if data.startswith(b"SIP/2.0 "):
            return False
        known = (source, data) in self._requests
        self._requests.add((source, data))
        return known

    def ask(self, what: Message, to: Address, within_s: float = PATIENCE_S) -> Message:
        """Send a request, return its final answer, and acknowledge the refusal of an INVITE."""
        self.send(what, to)
        final = self.expect(
            lambda m: m.status >= 200 and m.call_id == what.call_id and m["CSeq"] == what["CSeq"],
            within_s,
            f"the final answer to {what.start_line}",
        )
        if what.method == "INVITE" and final.status >= 300:
            self.send(acknowledgement(what, final), to)
        return final

    def register(
        self,
        registrar: Address,
        user: str,
        password: str,
        domain: str,
        *,
        contact: str | None = None,
        expires_s: int = 3600,
        headers: Headers = (),
    ) -> Message:
        """Register like a phone: answer a challenge, again if its nonce is stale. Return the reply.

        Kamailio 6 treats the nonces of its first second as stale.
        """
        aor, uri, call_id = f"sip:{user}@{domain}", f"sip:{domain}", secrets.token_hex(10)
        by = "" if self.transport == "udp" else f";transport={self.transport}"
        contact = contact or f"<sip:{user}@{place(self.address)}{by}>"

        def attempt(cseq: int, *credentials: tuple[str, str]) -> Message:
            ask = request(
                "REGISTER",
                uri,
                self.address,
                from_uri=aor,
                to_uri=aor,
                call_id=call_id,
                cseq=cseq,
                contact=contact,
                headers=[("Expires", str(expires_s)), *headers, *credentials],
                transport=self.transport.upper(),
            )
            return self.ask(ask, registrar)

        answer = attempt(1)
        give_up_at = time.monotonic() + PATIENCE_S
        for cseq in count(2):
            challenge = answer.get("WWW-Authenticate") or answer.get("Proxy-Authenticate") or ""
            is_stale = "stale=true" in challenge and time.monotonic() < give_up_at
            if answer.status not in (401, 407) or (cseq > 2 and not is_stale):
                return answer
            if cseq > 2:
                time.sleep(0.05)
            answer = attempt(cseq, authorization(answer, "REGISTER", uri, user, password))
        raise AssertionError

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def expect_any(
    endpoints: Collection[Endpoint],
    wanted: Callable[[Message], bool],
    within_s: float = PATIENCE_S,
    what: str = "the message",
) -> tuple[Endpoint, Message]:
    """Return the first message that is *wanted* at any of these UDP endpoints, and where it came.

    It drops other messages. Raises: AssertionError if none arrives.
    """
    by_socket = {endpoint._socket: endpoint for endpoint in endpoints}
    give_up_at = time.monotonic() + within_s
    while (left_s := give_up_at - time.monotonic()) > 0:
        for readable in select.select(list(by_socket), [], [], left_s)[0]:
            data, source = readable.recvfrom(65535)
            endpoint, message = by_socket[readable], Message.parse(data, source)
            if not endpoint._is_repeated(data, source) and wanted(message):
                return endpoint, message
    raise AssertionError(f"{what} did not come within {within_s:g} s")


def acknowledgement(invite: Message, refusal: Message) -> Message:
    """Make the ACK of a non-2xx answer: same branch, To with its tag (RFC 3261 17.1.1.3)."""
    number = invite["CSeq"].split()[0]
    fields = (
        ("Via", invite["Via"]),
        ("Max-Forwards", "70"),
        ("From", invite["From"]),
        ("To", refusal["To"]),
        ("Call-ID", invite.call_id),
        ("CSeq", f"{number} ACK"),
        ("Content-Length", "0"),
    )
    return Message(f"ACK {invite.request_uri} SIP/2.0", fields)
