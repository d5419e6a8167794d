"""The header part of a SIP message, as strictly as the edge reads it (RFC 3261 7.3).

Kamailio ends a line at LF. Targets end lines at LF, at CR, at CR LF, or at other characters. A
message in which these differ could show a target a header that Kamailio did not see. So a line ends
at CR LF only, and a message with a CR or LF elsewhere in its header part has a fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

_LONG = {
    "b": "referred-by",
    "c": "content-type",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
}
"""Compact names of headers (RFC 3261 7.3.3, RFC 6665, RFC 3515, RFC 3892)."""

_SCHEMES = frozenset({"sip", "sips", "tel"})
_SCHEME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789+-.")

_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.!%*_+`'~")
"""What a header's name is made of (RFC 3261 25.1), in small letters."""

_SINGLE = ("from", "to", "call-id", "cseq", "max-forwards", "content-length")
"""Headers that stand in a message once."""

END = "\r\n\r\n"


class Fault(StrEnum):
    """Why a message goes no further."""

    NO_END = "no_empty_line"
    LINE_END = "line_end_is_not_cr_lf"
    NUL = "nul_in_headers"
    REPEATED = "header_repeated"
    CONTENT_LENGTH = "content_length"
    START_LINE = "start_line"
    SCHEME = "uri_scheme"
    HEADER_NAME = "header_name"


class Message:
    """One message. `text`: all of it, `head`: its start line and headers, both in small letters."""

    __slots__ = ("_body", "_encoding", "_fields", "_raw", "fault", "head", "text")

    def __init__(self, raw: str | bytes) -> None:
        """Read a message; of one that is not UTF-8, and so comes as bytes, each is a character."""
        self._encoding = "latin-1" if isinstance(raw, bytes) else "utf-8"
        self._raw = raw.decode(self._encoding) if isinstance(raw, bytes) else raw
        self._raw = self._raw.lstrip("\r\n") if self._raw.startswith("\r\n") else self._raw
        self.text = self._raw.lower()
        self.head, end, _ = self.text.partition(END)
        self._fields: dict[str, list[str]] | None = None
        self.fault = _line_fault(self.head) if end else Fault.NO_END
        self._body = self._raw.partition(END)[2].encode(self._encoding)

    def all(self, name: str) -> list[str]:
        """Return the values of all headers of this name, in small letters and unfolded."""
        return self.fields.get(name, [])

    @property
    def fields(self) -> dict[str, list[str]]:
        """Long name of a header, in small letters → its values, in order."""
        if self._fields is None:
            self._fields = {}
            for name, line in _lines(self.head):
                self._fields.setdefault(name, []).append(line.partition(":")[2].strip(" \t"))
        return self._fields

    def as_written(self, name: str) -> list[str]:
        """Return the values of all headers of this name, unfolded, in their own letters."""
        lines = _lines(self._raw.partition(END)[0])
        return [line.partition(":")[2].strip(" \t") for found, line in lines if found == name]

    def request_fault(self) -> Fault | None:
        """Return what is wrong with a request, besides its line ends."""
        start = self.head.partition("\r\n")[0].split(" ")
        if len(start) != 3 or start[2] != "sip/2.0" or not all(start):
            return Fault.START_LINE
        scheme, colon, _ = start[1].partition(":")
        if scheme not in _SCHEMES:
            is_one = colon and scheme[:1].isalpha() and _SCHEME_CHARACTERS.issuperset(scheme)
            return Fault.SCHEME if is_one else Fault.START_LINE
        if self.has_broken_line:
            return Fault.HEADER_NAME
        if any(len(self.all(name)) > 1 for name in _SINGLE):
            return Fault.REPEATED
        return Fault.CONTENT_LENGTH if (self._length or 0) > len(self._body) else None

    @property
    def has_broken_line(self) -> bool:
        """Whether a line of the header part begins neither with a header's name and a colon, nor as
        one that goes on (RFC 3261 25.1: nothing is folded before the colon).

        Kamailio reads no further there: what comes behind it finds nobody to take it off.
        """
        for line in self.head.split("\r\n")[1:]:
            if line[:1] not in (" ", "\t"):
                name, colon, _ = line.partition(":")
                name = name.rstrip(" \t")
                if not colon or not name or not _TOKEN.issuperset(name):
                    return True
        return False

    @property
    def is_folded(self) -> bool:
        """Whether a header goes on in a further line (RFC 3261 7.3.1)."""
        return "\r\n " in self.head or "\r\n\t" in self.head

    @property
    def has_extra_octets(self) -> bool:
        """Whether a datagram has octets after its body."""
        return self._length is not None and len(self._body) > self._length

    def rewritten(self, without: str) -> str | None:
        """Return the message with each header in one line, without those whose names begin like
        this (in small letters), and without octets after its body.

        None where that is no text that Kamailio takes from Python.
        """
        head, end, _ = self._raw.partition(END)
        if without in self.head:
            kept = [line for name, line in _lines(head) if not name.startswith(without)]
            head = "\r\n".join([head.partition("\r\n")[0], *kept])
        try:
            whole = _unfolded(head) + end + self._body[: self._length].decode()
        except UnicodeDecodeError:
            return None
        return whole if self._is_text(whole) else None

    def refusal(self, status: int, phrase: str, tag: str) -> str:
        """Write an answer to this request without Kamailio's help (RFC 3261 8.2.6).

        `tag`: of us in its To. Nothing where the request is an ACK, or has not got what an answer
        needs in a form that can be repeated.
        """
        method, _, rest = self.head.partition("\r\n")[0].partition(" ")
        if method in ("", "ack") or not rest.rstrip(" ").endswith(" sip/2.0"):
            return ""
        needed: dict[str, list[str]] = {"via": [], "from": [], "to": [], "call-id": [], "cseq": []}
        for name, line in _lines(self._raw.partition(END)[0]):
            if name in needed and line.replace("\t", " ").isprintable():
                needed[name].append(line)
        if not all(needed.values()):
            return ""
        vias, (from_, *_), (to, *_), (call_id, *_), (cseq, *_) = needed.values()
        if ";tag=" not in to.replace(" ", "").lower():
            to += f";tag={tag}"
        lines = [f"SIP/2.0 {status} {phrase}", *vias, from_, to, call_id, cseq]
        return "\r\n".join([*lines, "Content-Length: 0", "", ""])

    @property
    def extensions_asked_of_proxies(self) -> list[str]:
        """The option tags of Proxy-Require (RFC 3261 20.29)."""
        if not self.all("proxy-require"):
            return []
        tags = [tag for value in self.as_written("proxy-require") for tag in value.split(",")]
        return [tag.strip() for tag in tags if _TOKEN.issuperset(tag.strip().lower())]

    def _is_text(self, text: str) -> bool:
        return "\0" not in text and (self._encoding == "utf-8" or text.isascii())

    @property
    def _length(self) -> int | None:
        """Content-Length; None where there is none. A huge number where it is not one."""
        values = self.all("content-length")
        if not values:
            return None
        digits = values[0]
        is_number = digits.isascii() and digits.isdigit() and len(digits) < 10
        return int(digits) if is_number else 1 << 32


def _line_fault(head: str) -> Fault | None:
    pairs = head.count("\r\n")
    if head.count("\r") != pairs or head.count("\n") != pairs:
        return Fault.LINE_END
    if head.partition("\r\n")[2][:1] in (" ", "\t"):  # it would go on with the start line
        return Fault.LINE_END
    return Fault.NUL if "\0" in head else None


def _unfolded(head: str) -> str:
    # No regular expression: a stranger's sixty thousand tabs must not cost their square.
    return head.replace("\r\n\t", "\r\n ").replace("\r\n ", " ")


def _lines(head: str) -> Iterator[tuple[str, str]]:
    """Yield (long name in small letters, line) of each header."""
    for line in _unfolded(head).split("\r\n")[1:]:
        name, colon, _ = line.partition(":")
        name = name.rstrip(" \t").lower() if colon else ""
        yield _LONG.get(name, name), line
