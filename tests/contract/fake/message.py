"""A SIP message as the fake Kamailio has it: bytes, read no further than it must be."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.rig.sip import Address

_COMPACT = {
    b"c": b"content-type",
    b"f": b"from",
    b"i": b"call-id",
    b"l": b"content-length",
    b"m": b"contact",
    b"t": b"to",
    b"v": b"via",
}
_NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+[ \t]*")
_URI = re.compile(
    rb"(?P<scheme>sips?):(?:(?P<user>[^@;?<>\"\s]+(?:;[^@<>\"\s]*)?)@)?"
    rb"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?"
    rb"(?P<params>(?:;[^?<>\"\s]*)?)(?P<headers>(?:\?[^<>\"]*)?)"
)


class BrokenMessageError(Exception):
    """No message that Kamailio would look at any further."""


@dataclass(frozen=True)
class Uri:
    """A sip URI, its parts as on the wire."""

    user: bytes
    host: str
    port: int
    params: bytes

    @property
    def address(self) -> Address:
        return self.host, self.port or 5060

    @classmethod
    def parse(cls, text: bytes) -> "Uri | None":
        """Read a URI; None for what is none. A tel URI has a user and nowhere to go."""
        if text.lower().startswith(b"tel:") and len(text) > 4:
            return cls(text[4:].partition(b";")[0], "", 0, b"")
        found = _URI.fullmatch(text)
        if found is None or int(found["port"] or 0) > 65535:
            return None
        user = (found["user"] or b"").partition(b":")[0]
        return cls(user, found["host"].decode().lower(), int(found["port"] or 0), found["params"])


@dataclass
class Sip:
    """One message. A field is (name, value), both without the space around them."""

    start: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    received: Address = ("", 0)
    """Where it came from."""
    socket: Address = ("", 0)
    """Ours, to which it came."""
    extra: dict[str, str] = field(default_factory=dict)
    as_it_came: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> "Sip":
        """Read a datagram, as tolerant of line ends as Kamailio is, and as strict of names."""
        head, separator, body = data.partition(b"\r\n\r\n")
        if not separator:
            head, separator, body = data.partition(b"\n\n")
        start, *lines = re.split(rb"\r?\n(?![ \t])", head)
        if not separator or not re.fullmatch(rb"(SIP/2\.0 \d{3} .*)|(\S+ .+ SIP/\d\.\d)", start):
            raise BrokenMessageError("first line, or no end")
        fields = []
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon or not _NAME.fullmatch(name):
                raise BrokenMessageError(f"bad header {line[:40]!r}")
            fields.append((name.strip(), re.sub(rb"\r?\n[ \t]+", b" ", value).strip()))
        message = cls(start, fields, body, as_it_came=data)
        needed = (b"via", b"from", b"to", b"call-id", b"cseq")
        if any(message.first(name) is None for name in needed):
            raise BrokenMessageError("a required header is missing")
        if not re.fullmatch(rb"\d{1,10}\s+\S+", message[b"cseq"]):
            raise BrokenMessageError("bad CSeq")
        if not re.fullmatch(rb"\d*", message.first(b"content-length") or b""):
            raise BrokenMessageError("bad Content-Length")
        return message

    def __bytes__(self) -> bytes:
        lines = [self.start, *(name + b": " + value for name, value in self.fields)]
        return b"\r\n".join([*lines, b"", self.body])

    @property
    def is_reply(self) -> bool:
        return self.start.startswith(b"SIP/2.0 ")

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    @property
    def method(self) -> bytes:
        return self.start.split(b" ")[0]

    @property
    def ruri(self) -> bytes:
        return self.start.split(b" ", 1)[1].rpartition(b" ")[0]

    @property
    def cseq(self) -> tuple[int, bytes]:
        """(number, method)"""
        number, method = self[b"cseq"].split()
        return int(number), method

    @property
    def branch(self) -> bytes:
        """The branch in the top Via."""
        return via_param(self[b"via"], b"branch") or b""

    def first(self, name: bytes) -> bytes | None:
        return next(iter(self.all(name)), None)

    def all(self, name: bytes) -> list[bytes]:
        return [value for header, value in self.fields if same_name(header, name)]

    def __getitem__(self, name: bytes) -> bytes:
        value = self.first(name)
        if value is None:
            raise KeyError(name)
        return value

    def without(self, names: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
        """Return the fields but those of these names."""
        gone = list(names)
        return [f for f in self.fields if not any(same_name(f[0], name) for name in gone)]


def same_name(one: bytes, other: bytes) -> bool:
    """Whether two header names are the same header's."""
    return _long(one) == _long(other)


def _long(name: bytes) -> bytes:
    name = name.lower()
    return _COMPACT.get(name, name)


def header_uri(value: bytes) -> bytes:
    """Return the URI of a From, To, Contact or Route."""
    unquoted = re.sub(rb'^\s*"(?:[^"\\]|\\.)*"', b"", value)
    _, bracket, rest = unquoted.partition(b"<")
    return rest.partition(b">")[0] if bracket else unquoted.partition(b";")[0].strip()


def header_tag(value: bytes) -> bytes:
    """Return the tag of a From or To; nothing where it has none."""
    found = re.search(rb";\s*tag\s*=\s*([^;\s>]+)", value.rpartition(b">")[2])
    return found[1] if found else b""


def via_param(via: bytes, name: bytes) -> bytes | None:
    """Return a parameter of a Via; empty where it has no value, None where it is not there."""
    found = re.search(rb";\s*" + name + rb"(?:\s*=\s*([^;,\s]*))?(?=[;,\s]|$)", via, re.IGNORECASE)
    return (found[1] or b"") if found else None


def via_address(via: bytes) -> Address | None:
    """Return where a reply with this top Via goes (RFC 3581 4, RFC 3261 18.2.2)."""
    found = re.match(rb"SIP\s*/\s*2\.0\s*/\s*UDP\s+([^:;\s]+)(?::(\d+))?", via, re.IGNORECASE)
    if found is None:
        return None
    host = (via_param(via, b"received") or found[1]).decode("ascii", "replace")
    port = int(via_param(via, b"rport") or found[2] or 5060)
    return host, port
