"""The header part of a SIP message, as strictly as the edge reads it (RFC 3261 7.3).

Kamailio ends a line at LF. Targets end lines at LF, at CR, at CR LF, or at other characters. Where
these differ, a target could see a header that Kamailio did not see. So a line ends at CR LF only.
A message with a CR or LF elsewhere in its header part has a fault.

This code reads each message of a call, so it takes few steps, most of them one call into C. Regular
expressions are possessive: their time is proportional to the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from functools import cache

from whence.core.sip.grammar import parse_params, split_name_addr

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

END = "\r\n\r\n"

_TOKEN = r"[a-z0-9\-.!%*_+`'~]"
_LINES = re.compile(rf"(?:\r\n(?:{_TOKEN}++[ \t]*+:|[ \t])[^\r\n]*+)*+")
"""Lines that begin with a header's name and a colon, or with a blank, which continues a header.

No header is folded before its colon (RFC 3261 25.1)."""

_START = re.compile(r"[^ ]++ ([^ ]++) sip/2\.0")
_SCHEME = re.compile(r"([a-z][a-z0-9+.\-]*+):")
_SCHEMES = frozenset({"sip", "sips", "tel"})

_SINGLE = re.compile(r"\r\n(from|f|to|t|call-id|i|cseq|max-forwards|content-length|l)[ \t]*+:")
"""Headers that a message may have only once."""

_TAG = re.compile(_TOKEN + "+", re.IGNORECASE)


class Fault(StrEnum):
    """Why the edge refuses a message."""

    NO_END = "no_empty_line"
    LINE_END = "line_end_is_not_cr_lf"
    NUL = "nul_in_headers"
    HEADER_NAME = "header_name"
    REPEATED = "header_repeated"
    CONTENT_LENGTH = "content_length"
    START_LINE = "start_line"
    SCHEME = "uri_scheme"


class Message:
    """One message, in small letters. `text`: all of it. `head`: its start line and headers."""

    __slots__ = (
        "_content_length",
        "_is_bytes",
        "_raw",
        "fault",
        "head",
        "is_folded",
        "start",
        "text",
    )

    def __init__(self, raw: str | bytes) -> None:
        """Read a message. `raw` is bytes where it is not UTF-8: each byte is a character."""
        self._is_bytes = isinstance(raw, bytes)
        self._raw = raw.decode("latin-1") if isinstance(raw, bytes) else raw
        if self._raw.startswith("\r\n"):  # RFC 3261 7.5
            self._raw = self._raw.lstrip("\r\n")
        self.text = self._raw.lower()
        self.head, end, _ = self.text.partition(END)
        self.start = self.head.partition("\r\n")[0]
        self.is_folded = "\r\n " in self.head or "\r\n\t" in self.head
        """Whether a header has several lines (RFC 3261 7.3.1)."""
        self.fault = self._line_fault() if end else Fault.NO_END
        self._content_length: int | None = -1  # not read yet

    @property
    def first_line(self) -> str:
        """Return the start line in its own letters."""
        return self._raw.partition("\r\n")[0]

    def _line_fault(self) -> Fault | None:
        head = self.head
        pairs = head.count("\r\n")
        if head.count("\r") != pairs or head.count("\n") != pairs:
            return Fault.LINE_END
        if self.is_folded and head[len(self.start) + 2 :][:1] in (" ", "\t"):
            return Fault.LINE_END  # the line would continue the start line
        return Fault.NUL if "\0" in head else None

    def all(self, name: str) -> list[str]:
        """Return the values of all headers of this long name, in small letters and unfolded."""
        head = _unfolded(self.head) if self.is_folded else self.head
        return [value.strip(" \t") for value in _values(name).findall(head)]

    def as_written(self, name: str) -> list[str]:
        """Return the values of all headers of this name, unfolded, as written."""
        lines = _lines(self._raw.partition(END)[0])
        return [line.partition(":")[2].strip(" \t") for found, line in lines if found == name]

    def fields(self) -> dict[str, list[str]]:
        """Return long name in small letters → values of its headers, unfolded, as written."""
        found: dict[str, list[str]] = {}
        head = self._raw.partition(END)[0]
        for line in (_unfolded(head) if self.is_folded else head).split("\r\n")[1:]:
            name, colon, value = line.partition(":")
            name = name.rstrip(" \t").lower() if colon else ""
            found.setdefault(_LONG.get(name, name), []).append(value.strip(" \t"))
        return found

    @property
    def request_line(self) -> tuple[str, str]:
        """The method and the Request-URI, as written. A part that is missing is empty."""
        start = self._raw.partition("\n")[0].rstrip("\r")
        method, _, rest = start.partition(" ")
        return method, rest.rpartition(" ")[0]

    def request_fault(self) -> Fault | None:
        """Return what is wrong with a request, besides its line ends."""
        if (fault := self._start_fault()) is not None:
            return fault
        if self.has_broken_line:
            return Fault.HEADER_NAME
        names = [_LONG.get(name, name) for name in _SINGLE.findall(self.head)]
        if len(set(names)) != len(names):
            return Fault.REPEATED
        length = self._length
        return Fault.CONTENT_LENGTH if length and length > self._body_length else None

    def _start_fault(self) -> Fault | None:
        start = _START.fullmatch(self.start)
        if start is None:
            return Fault.START_LINE
        scheme = _SCHEME.match(start[1])
        if scheme is None:
            return Fault.START_LINE
        return None if scheme[1] in _SCHEMES else Fault.SCHEME

    @property
    def has_broken_line(self) -> bool:
        """Return whether a line has no header name and colon, and does not continue a header.

        Kamailio stops reading there. It cannot remove a header behind such a line.
        """
        return _LINES.fullmatch(self.head, len(self.start)) is None

    @property
    def has_extra_octets(self) -> bool:
        """Return whether a datagram has octets after its body."""
        length = self._length
        return length is not None and self._body_length > length

    def rewritten(self, without: str) -> str | None:
        """Return the message with each header in one line, and without octets after its body.

        Headers whose names begin with `without` (in small letters) are removed. None where Kamailio
        cannot take the result from Python.
        """
        head, end, _ = self._raw.partition(END)
        if without in self.head:
            kept = [line for name, line in _lines(head) if not name.startswith(without)]
            head = "\r\n".join([head.partition("\r\n")[0], *kept])
        try:
            whole = _unfolded(head) + end + self._body[: self._length].decode()
        except UnicodeDecodeError:
            return None
        is_text = not self._is_bytes or whole.isascii()
        return whole if is_text and "\0" not in whole else None

    def refusal(self, status: int, phrase: str, tag: str) -> str:
        """Return an answer to this request, made without Kamailio (RFC 3261 8.2.6).

        `tag`: our tag in its To. Empty for an ACK, and for a request without the headers of an
        answer, or with control characters in them.
        """
        method, _, rest = self.start.partition(" ")
        if method in ("", "ack") or not rest.rstrip(" ").endswith(" sip/2.0"):
            return ""
        needed: dict[str, list[str]] = {"via": [], "from": [], "to": [], "call-id": [], "cseq": []}
        for name, line in _lines(self._raw.partition(END)[0]):
            if name in needed and line.replace("\t", " ").isprintable():
                needed[name].append(line)
        if not all(needed.values()):
            return ""
        vias, (from_, *_), (to, *_), (call_id, *_), (cseq, *_) = needed.values()
        if not _has_tag(to.partition(":")[2]):
            to += f";tag={tag}"
        lines = [f"SIP/2.0 {status} {phrase}", *vias, from_, to, call_id, cseq]
        return "\r\n".join([*lines, "Content-Length: 0", "", ""])

    @property
    def extensions_asked_of_proxies(self) -> list[str] | None:
        """Return the valid option tags of Proxy-Require (RFC 3261 20.29); None without one."""
        if "\r\nproxy-require" not in self.head or not self.all("proxy-require"):
            return None
        tags = [tag for value in self.as_written("proxy-require") for tag in value.split(",")]
        return [tag.strip() for tag in tags if _TAG.fullmatch(tag.strip())]

    @property
    def _body(self) -> bytes:
        body = self._raw.partition(END)[2]
        return body.encode("latin-1" if self._is_bytes else "utf-8")

    @property
    def _body_length(self) -> int:
        """Return the number of bytes after the header part."""
        if self._is_bytes or self._raw.isascii():
            return len(self._raw) - len(self.head) - len(END)
        return len(self._body)

    @property
    def _length(self) -> int | None:
        """Return the Content-Length; None without the header. An invalid one is a huge number."""
        if self._content_length == -1:
            values = self.all("content-length")
            self._content_length = _number(values[0]) if values else None
        return self._content_length


def _has_tag(value: str) -> bool:
    """Return whether a To has a tag, which may not be one in its display name or URI."""
    found = split_name_addr(value)
    params = parse_params(found[1]) if found is not None else None
    if params is None:  # of no valid form: another tag would only add to the faults
        return ";tag=" in value.replace(" ", "").lower()
    return any(name == "tag" for name, _ in params)


def _number(digits: str) -> int:
    is_number = digits.isascii() and digits.isdigit() and len(digits) < 10
    return int(digits) if is_number else 1 << 32


@cache
def _values(name: str) -> re.Pattern[str]:
    """Find the values of the headers of this long name, or its compact one."""
    names = [re.escape(name), *[short for short, long in _LONG.items() if long == name]]
    return re.compile(rf"\r\n(?:{'|'.join(names)})[ \t]*+:([^\r\n]*+)")


def _unfolded(head: str) -> str:
    return head.replace("\r\n\t", "\r\n ").replace("\r\n ", " ")


def _lines(head: str) -> Iterator[tuple[str, str]]:
    """Yield (long name in small letters, line) of each header."""
    for line in _unfolded(head).split("\r\n")[1:]:
        name, colon, _ = line.partition(":")
        name = name.rstrip(" \t").lower() if colon else ""
        yield _LONG.get(name, name), line
